package backlog

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/tsdb/record"
)

func TestPendingWhileWriting(t *testing.T) {
	r := openRun(t, t.TempDir(), runOptions{})
	c := newConsumer(t, r.s, Position{})
	ts := int64(1000)
	for ; r.s.End().Segment < 4; ts++ {
		r.append(int(ts)%7*20, int(ts)%7*20+40, ts)
		if ts%5 == 0 {
			c.next()
			c.next()
			require.NoError(t, r.s.Sweep())
			rest := newConsumer(t, r.s, c.pos).drain()
			counts, bytes, oldest, complete := r.s.Pending(c.pos)
			require.True(t, complete)
			require.Equal(t, rest.counts, counts)
			require.Equal(t, rest.samples[0].t, oldest)
			require.Positive(t, bytes)
		}
	}
	require.NoError(t, r.s.Sweep())
	c.drain()
	counts, bytes, oldest, complete := r.s.Pending(c.pos)
	require.True(t, complete)
	require.Zero(t, counts)
	require.Zero(t, bytes)
	require.Zero(t, oldest)
}

func TestPendingOfOlderGenerations(t *testing.T) {
	dir, by := finishedRun(t)
	s := openStore(t, dir, Options{})
	counts, bytes, _, complete := s.Pending(Position{})
	require.False(t, complete)
	require.Zero(t, counts)
	require.Equal(t, inodeBytes(dir), bytes)

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	all := newConsumer(t, s, Position{})
	var at []Position
	var n []Counts
	var samples []int
	for all.next() {
		at, n, samples = append(at, all.pos), append(n, all.counts), append(samples, len(all.samples))
	}
	require.Eventually(t, func() bool { _, _, _, ok := s.Pending(Position{}); return ok }, 10*time.Second, time.Millisecond)
	counts, bytes, oldest, _ := s.Pending(Position{})
	require.Equal(t, all.counts, counts)
	require.Equal(t, concat(by...)[0].t, oldest)
	require.Equal(t, inodeBytes(dir), bytes)
	for i := 0; i < len(at); i += 13 {
		// The detail of a segment is counted when somebody asks for it.
		require.Eventually(t, func() bool { _, _, _, ok := s.Pending(at[i]); return ok }, 10*time.Second, time.Millisecond)
		counts, _, oldest, _ := s.Pending(at[i])
		require.Equal(t, all.counts.Sub(n[i]), counts)
		if samples[i] < len(all.samples) {
			require.Equal(t, all.samples[samples[i]].t, oldest)
		}
	}
	cancel()
	require.NoError(t, <-done)

	require.NoError(t, s.Release(Position{Generation: 1, Segment: 3}))
	counts, _, _, complete = s.Pending(Position{})
	require.True(t, complete)
	require.EqualValues(t, len(concat(by[3:]...)), counts.Samples())
	s.index.dropDetail(time.Now())
	s.index.dropDetail(time.Now().Add(2 * keepMarks))
	for k, tl := range s.index.tallies {
		require.True(t, tl.marks == nil || k.generation == s.current)
	}
}

func TestTallyThinsOut(t *testing.T) {
	tl := newTally(true)
	for i := range int64(maxMarks * 3) {
		tl.add(record.Samples, Counts{Floats: 2}, 1000+i, (i+1)*10)
	}
	require.True(t, tl.thin)
	require.Less(t, len(tl.marks), maxMarks)
	c, oldest, exact := tl.behind(tl.marks[100].end)
	require.True(t, exact)
	require.Equal(t, uint64(maxMarks*3*2-int(tl.marks[100].end/10*2)), c.Floats)
	require.Equal(t, 1000+tl.marks[100].end/10, oldest)
	_, _, exact = tl.behind(tl.marks[100].end + 10)
	require.False(t, exact)
	c, oldest, exact = tl.behind(tl.end)
	require.True(t, exact)
	require.Zero(t, c)
	require.EqualValues(t, math.MaxInt64, oldest)
}

func TestSyncAndMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	r := openRun(t, t.TempDir(), runOptions{Options: Options{SyncInterval: time.Millisecond, Registerer: reg}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.s.Run(ctx) }()
	for ts := int64(0); r.s.End().Segment < 3; ts++ {
		r.append(0, 50, ts)
	}
	require.Eventually(t, func() bool {
		return testutil.ToFloat64(r.s.metrics.syncs) > 3 && testutil.ToFloat64(r.s.metrics.segments) == 4
	}, 10*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, r.s.Sync())
	require.NoError(t, r.s.Sweep())
	require.Equal(t, 3, r.s.syncedTo)
	require.Zero(t, testutil.ToFloat64(r.s.metrics.syncFailures))
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
	u := r.s.Usage()
	require.Equal(t, u.WALBytes, u.BacklogBytes)
	require.Equal(t, u.WALBytes, u.TotalBytes)
	require.Equal(t, float64(u.TotalBytes), testutil.ToFloat64(r.s.metrics.totalBytes))
	r.close()
	n, err := testutil.GatherAndCount(reg)
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestChanged(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	a, b := s.Changed(), s.Changed()
	require.Equal(t, a, b)
	s.Notify()
	<-a
	s.Notify()
	select {
	case <-s.Changed():
		t.Fatal("nobody has notified since")
	default:
	}
}

func TestWriteFileAtomic(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	require.NoError(t, WriteFileAtomic(path, []byte("one")))
	require.NoError(t, WriteFileAtomic(path, []byte("2")))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "2", string(data))
	require.Equal(t, []string{"file"}, ls(t, dir))
	require.Error(t, WriteFileAtomic(filepath.Join(dir, "none", "file"), nil))
}

func TestPosition(t *testing.T) {
	order := []Position{{}, {0, 0, 1}, {0, 1, 0}, {1, 0, 0}, {1, 0, 9}, {1, 2, 0}, {2, 0, 0}}
	for i, p := range order {
		for j, q := range order {
			require.Equal(t, min(max(i-j, -1), 1), p.Compare(q))
		}
		require.Equal(t, i == 0, p.IsZero())
	}
	require.Equal(t, "00000007/00000004:12345", Position{7, 4, 12345}.String())
	require.Equal(t, Counts{4, 3, 2}, Counts{3, 1, 2}.Add(Counts{1, 2, 0}))
	require.Equal(t, uint64(4), Counts{3, 1, 2}.Samples())
}
