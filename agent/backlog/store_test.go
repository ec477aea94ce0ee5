package backlog

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

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
		r.s.Notify() // else there is nothing to be synced
		return testutil.ToFloat64(r.s.metrics.syncs) > 3 && testutil.ToFloat64(r.s.metrics.segments) == 4
	}, 10*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, r.s.Sync())
	require.NoError(t, r.s.Sweep())
	require.Equal(t, 3, r.s.syncer.syncedTo)
	require.Zero(t, testutil.ToFloat64(r.s.metrics.syncFailures))
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
	u := r.s.Usage()
	require.Equal(t, u.WALBytes, u.BacklogBytes)
	require.Equal(t, u.WALBytes, u.TotalBytes)
	require.Equal(t, float64(u.TotalBytes), testutil.ToFloat64(r.s.metrics.totalBytes))
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
