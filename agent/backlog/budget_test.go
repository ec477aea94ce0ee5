package backlog

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// ledger stands for delivery: a mark that only eviction moves, and what that cost.
type ledger struct {
	s       *Store
	mark    Position
	evicted Counts
	calls   int
}

func (l *ledger) onEvict(t testing.TB) func(Position) {
	return func(to Position) {
		l.calls++
		c, err := l.s.Count(l.mark, to)
		require.NoError(t, err)
		l.evicted = l.evicted.Add(c)
		if l.mark.Compare(to) < 0 {
			l.mark = to
		}
		require.NoError(t, l.s.Release(l.mark), "must not dead-lock")
		r := l.s.NewReader(to)
		defer r.Close()
		_, err = r.Next()
		require.NoError(t, err)
	}
}

// requireBalance asserts that all that was appended was either evicted or can be
// read.
func (l *ledger) requireBalance(t testing.TB, s *Store, model []sample) {
	t.Helper()
	c := newConsumer(t, s, l.mark).drain()
	require.NotEmpty(t, c.samples)
	c.requireAll(model[len(model)-len(c.samples):])
	require.EqualValues(t, len(model), l.evicted.Samples()+c.counts.Samples())
	for _, k := range c.kinds() {
		require.Equal(t, Generation, k)
	}
}

func TestCapHoldsAtEveryMoment(t *testing.T) {
	const maxBytes = 1 << 20
	dir := t.TempDir()
	l := &ledger{}
	o := runOptions{Options: Options{MaxBytes: maxBytes, OnEvict: l.onEvict(t)}}

	var most, samples atomic.Int64
	watched, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			default:
				most.Store(max(most.Load(), inodeBytes(dir)))
				samples.Add(1)
			}
		}
	}()
	var model []sample
	for run := range 3 {
		r := openRun(t, dir, o)
		r.model, l.s = model, r.s
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.s.Run(ctx) }()
		for ts := int64(0); ts < 700; ts++ {
			i := int(ts) / 50 * 20
			r.append(i, i+100, int64(run)*10000+ts)
			if ts%100 == 99 {
				r.truncate()
			}
			require.Eventually(t, func() bool { return !r.s.Refusing() }, 10*time.Second, time.Millisecond)
		}
		cancel()
		require.NoError(t, <-done)
		require.False(t, r.s.Refusing())
		require.NoError(t, r.s.Sweep())
		require.Greater(t, r.s.Usage().TotalBytes, int64(maxBytes/2), "the cap is made use of")
		model = r.model
		r.close()
	}
	close(stop)
	<-watched
	require.LessOrEqual(t, most.Load(), int64(maxBytes))
	require.Greater(t, samples.Load(), int64(100))
	require.NotZero(t, l.calls)

	s := openStore(t, dir, Options{})
	l.requireBalance(t, s, model)
}

// With a cap that is smaller than what upstream keeps, segments go from wal/ as
// well, and neither upstream's truncation nor a new watcher minds.
func TestEvictFromWAL(t *testing.T) {
	for _, hardLinks := range []bool{true, false} {
		l := &ledger{}
		o := runOptions{Options: Options{MaxBytes: 12 * page, OnEvict: l.onEvict(t)}}
		if !hardLinks {
			o.link = func(string, string) error { return syscall.EPERM }
		}
		r := openRun(t, t.TempDir(), o)
		l.s = r.s
		for ts := int64(0); r.s.End().Segment < 30; ts++ {
			i := int(ts) / 10 * 5 // new series all the time
			r.append(i, i+50, ts)
			require.NoError(t, r.s.Sweep())
			if ts%140 == 139 && r.s.End().Segment < 15 {
				r.truncate()
			}
			require.LessOrEqual(t, inodeBytes(r.dir), int64(12*page))
		}
		require.False(t, r.s.Refusing())
		require.NotZero(t, l.calls)
		require.Greater(t, r.firstInWAL(), 15)
		requireWatchable(t, filepath.Join(r.dir, "wal"))
		l.requireBalance(t, r.s, r.model)
		r.truncate()
		require.NoError(t, r.s.Sweep())
		requireWatchable(t, filepath.Join(r.dir, "wal"))
		r.append(0, 600, 1e6)
		l.requireBalance(t, r.s, r.model)
		dir := r.kill()
		s := openStore(t, dir, o.Options)
		l.requireBalance(t, s, r.model)
	}
}

// requireWatchable reads wal/ as upstream's watcher does when it starts, and asserts
// that it learns every series.
func requireWatchable(t *testing.T, dir string) {
	t.Helper()
	cp, _, err := wlog.LastCheckpoint(dir)
	require.NoError(t, err)
	known := map[chunks.HeadSeriesRef]bool{}
	dec := record.NewDecoder(nil, discard())
	first, last, err := wlog.Segments(dir)
	require.NoError(t, err)
	samples := 0
	for _, rng := range []wlog.SegmentRange{{Dir: cp, First: -1, Last: -1}, {Dir: dir, First: first, Last: last}} {
		f, err := wlog.NewSegmentsRangeReader(rng)
		require.NoError(t, err)
		r := wlog.NewReader(f)
		for r.Next() {
			switch recordType(r.Record()) {
			case record.Series:
				series, err := dec.Series(r.Record(), nil)
				require.NoError(t, err)
				for _, s := range series {
					known[s.Ref] = true
				}
			case record.Samples:
				refs, err := dec.Samples(r.Record(), nil)
				require.NoError(t, err)
				for _, s := range refs {
					require.True(t, known[s.Ref], "series %d", s.Ref)
					samples++
				}
			}
		}
		require.NoError(t, f.Close())
	}
	require.NotZero(t, samples)
}

func TestLiveWatchersAreSpared(t *testing.T) {
	var live atomic.Int64
	r := openRun(t, t.TempDir(), runOptions{Options: Options{
		MaxBytes: 10 * page, LiveSegment: func() int { return int(live.Load()) },
	}})
	ts := int64(0)
	for ; !r.s.Refusing(); ts++ {
		r.append(0, 40, ts)
		require.NoError(t, r.s.Sweep())
		require.LessOrEqual(t, inodeBytes(r.dir), int64(10*page))
	}
	require.Zero(t, r.firstInWAL())
	live.Store(1)
	require.NoError(t, r.s.Sweep())
	require.Equal(t, 1, r.firstInWAL())
	require.True(t, r.s.Refusing())

	// One starts while the series are being put elsewhere.
	asked := 0
	r.s.evictor.liveSegment = func() int {
		if asked++; asked == 1 {
			return math.MaxInt
		}
		return 0
	}
	require.NoError(t, r.s.Sweep())
	require.Equal(t, 1, r.firstInWAL())
	require.GreaterOrEqual(t, asked, 2)

	r.s.evictor.liveSegment = func() int { return math.MaxInt }
	require.NoError(t, r.s.Sweep())
	require.Greater(t, r.firstInWAL(), 1)
	require.False(t, r.s.Refusing())
	l := &ledger{mark: r.s.Oldest()}
	l.evicted.Floats = uint64(len(r.model)) - newConsumer(t, r.s, l.mark).drain().counts.Samples()
	l.requireBalance(t, r.s, r.model)
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skip("cannot mount a small file system:", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	const floor = 1 << 20
	l := &ledger{}
	r := openRun(t, dir, runOptions{Options: Options{MaxBytes: 1 << 30, MinFreeBytes: floor, OnEvict: l.onEvict(t)}})
	l.s = r.s
	ts := int64(0)
	appendUntil := func(cond func() bool) {
		for n := 0; !cond(); n++ {
			require.Less(t, n, 20000)
			require.NoError(t, r.s.Sweep())
			if !r.s.Refusing() {
				ts++
				r.append(0, 100, ts)
			}
			free, err := freeBytes(dir)
			require.NoError(t, err)
			require.Positive(t, free)
		}
	}
	// On its own, it evicts and goes on.
	appendUntil(func() bool { return l.calls > 20 })
	require.False(t, r.s.Refusing())
	free, err := freeBytes(dir)
	require.NoError(t, err)
	require.Greater(t, free, int64(floor/2))

	// Somebody else takes all there is, bit by bit.
	hog, err := os.Create(filepath.Join(dir, "hog"))
	require.NoError(t, err)
	written := 0
	appendUntil(func() bool {
		for range 2 {
			n, err := hog.Write(make([]byte, page))
			written += n
			if err != nil {
				return true
			}
		}
		return r.s.Refusing()
	})
	require.True(t, r.s.Refusing())
	n := len(r.model)
	for range 5 {
		require.NoError(t, r.s.Sweep())
		require.True(t, r.s.Refusing())
	}
	require.Less(t, r.s.Usage().TotalBytes, int64(10*page), "all that could be evicted was")
	require.NoError(t, hog.Truncate(int64(written)-floor*2))
	require.NoError(t, r.s.Sweep())
	require.False(t, r.s.Refusing())
	appendUntil(func() bool { return len(r.model) > n+5000 })
	l.requireBalance(t, r.s, r.model)
	r.close()
	s := openStore(t, dir, Options{})
	l.requireBalance(t, s, r.model)
	require.NoError(t, s.Close())
	require.NoError(t, hog.Close())
}

func TestDefaults(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=40m"); err != nil {
		t.Skip("cannot mount a small file system:", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	var logged bytes.Buffer
	s, err := Open(Options{Dir: dir, Logger: log.NewLogfmtLogger(&logged)})
	require.NoError(t, err)
	defer s.Close()
	require.NotContains(t, logged.String(), "level=warn")
	require.Equal(t, 512<<10, s.SegmentSize())
	u := s.Usage()
	require.Equal(t, int64(4<<20), u.MaxBytes)
	require.Equal(t, int64(10<<20), u.MinFreeBytes)
	require.InDelta(t, 40<<20, u.FreeBytes, 1<<20)
	_, err = Open(Options{Dir: t.TempDir(), MaxBytes: -1})
	require.ErrorContains(t, err, "negative")
}

func TestDecideBudget(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for _, tc := range []struct {
		name       string
		fileSystem int64
		o          Options
		want       budget
		coarse     bool
	}{
		{"16 MiB", 16 * mib, Options{}, budget{16 * mib / 10, 4 * mib, 192 << 10}, false},
		{"40 MiB", 40 * mib, Options{}, budget{4 * mib, 10 * mib, 512 << 10}, false},
		{"64 MiB", 64 * mib, Options{}, budget{64 * mib / 10, 16 * mib, 800 << 10}, false},
		{"100 MiB", 100 * mib, Options{}, budget{10 * mib, 16 * mib, mib}, false},
		{"200 MiB", 200 * mib, Options{}, budget{20 * mib, 16 * mib, mib}, false},
		{"1 GiB", gib, Options{}, budget{gib / 10, gib / 20, gib / 320 / page * page}, false},
		{"4 GiB", 4 * gib, Options{}, budget{4 * gib / 10, 4 * gib / 20, 8 * mib}, false},
		{"10 GiB", 10 * gib, Options{}, budget{gib, 256 * mib, 8 * mib}, false},
		{"1 TiB", 1024 * gib, Options{}, budget{gib, 256 * mib, 8 * mib}, false},
		{"unknown", 0, Options{}, budget{gib, 16 * mib, 8 * mib}, false},

		{"budget of 256 MiB", 10 * gib, Options{MaxBytes: 256 * mib}, budget{256 * mib, 256 * mib, 8 * mib}, false},
		{"budget of 18 MiB", 10 * gib, Options{MaxBytes: 18 * mib}, budget{18 * mib, 256 * mib, mib}, false},
		{"budget of 8 MiB", 10 * gib, Options{MaxBytes: 8 * mib}, budget{8 * mib, 256 * mib, mib}, false},
		{"budget of 4 MiB", 10 * gib, Options{MaxBytes: 4 * mib}, budget{4 * mib, 256 * mib, 512 << 10}, false},
		{"budget of 100 KiB", 10 * gib, Options{MaxBytes: 100 << 10}, budget{100 << 10, 256 * mib, page}, true},
		{"budget of 1 byte", 10 * gib, Options{MaxBytes: 1}, budget{1, 256 * mib, page}, true},
		{"budget of 1 TiB", 10 * gib, Options{MaxBytes: 1024 * gib}, budget{1024 * gib, 256 * mib, 8 * mib}, false},
		{"floor of 1 MiB", 200 * mib, Options{MinFreeBytes: mib}, budget{20 * mib, mib, mib}, false},

		{"segments of 32 KiB", 10 * gib, Options{SegmentSize: page}, budget{gib, 256 * mib, page}, false},
		{"segments of 128 MiB", 10 * gib, Options{SegmentSize: 128 * mib}, budget{gib, 256 * mib, 128 * mib}, false},
		{"segments of 8 MiB on 200 MiB", 200 * mib, Options{SegmentSize: 8 * mib}, budget{20 * mib, 16 * mib, 8 * mib}, true},
		{"both", 200 * mib, Options{MaxBytes: 64 * mib, SegmentSize: 2 * mib}, budget{64 * mib, 16 * mib, 2 * mib}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := decideBudget(tc.o, tc.fileSystem)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
			require.Equal(t, tc.coarse, got.coarse())
		})
	}
	for size := int64(16 << 20); size <= 1<<40; size += size / 7 {
		b, err := decideBudget(Options{}, size)
		require.NoError(t, err)
		require.False(t, b.coarse(), "nobody is warned about a default: %d", size)
		require.Zero(t, b.segmentBytes%page)
		require.GreaterOrEqual(t, b.maxBytes/b.segmentBytes, int64(8))
		require.LessOrEqual(t, b.maxBytes/b.segmentBytes, int64(128))
		evict, refuse := b.limits(minCheckpoint)
		require.Greater(t, evict, b.maxBytes/3)
		require.Greater(t, refuse, evict)
		require.Greater(t, b.maxBytes, refuse)
	}
	for _, o := range []Options{{MaxBytes: -1}, {MinFreeBytes: -1}, {SegmentSize: -page}} {
		_, err := decideBudget(o, gib)
		require.ErrorContains(t, err, "negative")
	}
	_, err := decideBudget(Options{SegmentSize: 1000}, gib)
	require.ErrorContains(t, err, "multiple of 32768")
}

// A release that comes while the files are being worked on is not forgotten until
// the next sweep is due.
func TestReleaseWakes(t *testing.T) {
	dir, _ := finishedRun(t)
	s := openStore(t, dir, Options{})
	s.op.Lock()
	require.NoError(t, s.Release(Position{Generation: 2}))
	s.op.Unlock()
	require.True(t, exists(segmentFile(dir, 1, 0)))
	select {
	case <-s.wakeSweep:
	default:
		t.Fatal("no sweep was asked for")
	}
	require.NoError(t, s.Sweep())
	require.False(t, exists(segmentFile(dir, 1, 0)))
}
