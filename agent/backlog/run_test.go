package backlog

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLookAgain(t *testing.T) {
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		free, floor int64
		refusing    bool
		want        time.Duration
	}{
		"plenty":                      {free: 40 << 30, floor: 256 * mib, want: lookInterval},
		"a small disk, half full":     {free: 100 * mib, floor: 16 * mib, want: lookInterval},
		"twice the floor":             {free: 32 * mib, floor: 16 * mib, want: lookInterval},
		"less":                        {free: 32*mib - 2, floor: 16 * mib, want: closeLookInterval},
		"below the floor":             {free: mib, floor: 16 * mib, want: closeLookInterval},
		"to be accepted again soon":   {free: 40 << 30, floor: 16 * mib, refusing: true, want: closeLookInterval},
		"nobody has looked until now": {want: lookInterval},
	} {
		u := Usage{FreeBytes: tc.free, MinFreeBytes: tc.floor}
		require.Equal(t, tc.want, lookAgain(u, tc.refusing), name)
	}
}

// age makes a directory look as if nothing had changed in it for long.
func age(t *testing.T, dir string) {
	t.Helper()
	then := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(dir, then, then))
}

func TestListing(t *testing.T) {
	dir := t.TempDir()
	var l listing
	require.False(t, l.holds(dir), "it was never listed")
	l.begin(dir)
	require.False(t, l.holds(dir), "it has just been made: what changes now may not show")
	age(t, dir)
	l.begin(dir)
	require.True(t, l.holds(dir))
	file := filepath.Join(dir, "one")
	require.NoError(t, os.WriteFile(file, nil, fileMode))
	require.False(t, l.holds(dir))
	age(t, dir)
	l.begin(dir)
	require.NoError(t, os.WriteFile(file, []byte("more"), fileMode))
	require.True(t, l.holds(dir), "its entries are the same")
	require.NoError(t, os.Remove(file))
	require.False(t, l.holds(dir))
	age(t, dir)
	l.begin(dir)
	l.at = l.at.Add(-listAgain)
	require.False(t, l.holds(dir), "it was listed long ago")
	require.NoError(t, os.Remove(dir))
	l.begin(dir)
	require.False(t, l.holds(dir))
}

// TestNothingToSweep: a store in whose directory nothing happens is left alone, and what
// happens there is seen.
func TestNothingToSweep(t *testing.T) {
	r := openRun(t, t.TempDir(), runOptions{})
	wal := r.s.inv.walDir
	due := func() bool { return r.s.sweepDue(time.Now()) }
	settle := func() {
		t.Helper()
		age(t, wal)
		require.NoError(t, r.s.Sweep())
		require.False(t, due())
	}
	r.append(0, 50, 1)
	require.True(t, due(), "something was committed")
	settle()
	before := r.s.Usage()
	require.NoError(t, r.s.Sweep())
	require.Equal(t, before.TotalBytes, r.s.Usage().TotalBytes)
	require.Equal(t, before.WALBytes, r.s.Usage().WALBytes)

	r.append(0, 50, 2)
	require.NoError(t, r.s.Sweep()) // without a listing
	require.Greater(t, r.s.Usage().WALBytes, before.WALBytes)
	require.Greater(t, r.s.Usage().TotalBytes, before.TotalBytes)
	require.False(t, due())

	require.True(t, r.s.sweepDue(time.Now().Add(sweepInterval)), "the last sweep was long ago")

	tmp := filepath.Join(wal, checkpointName(1)+tmpSuffix)
	require.NoError(t, os.Mkdir(tmp, dirMode))
	require.True(t, due(), "a checkpoint is being written")
	age(t, wal)
	require.NoError(t, r.s.Sweep())
	require.True(t, due(), "what is being written may grow")
	require.NoError(t, os.Remove(tmp))
	settle()

	last, ok := r.s.inv.running().last()
	require.True(t, ok)
	r.s.inv.running().segment(last).linked = false
	require.True(t, due(), "a segment has no second name")
	settle()
	require.True(t, r.s.inv.running().segment(last).linked)
}

// TestSyncDue: what is delivered is not synced, what waits for longer than the interval
// is, and so are the names of new segments.
func TestSyncDue(t *testing.T) {
	var delivered Position
	r := openRun(t, t.TempDir(), runOptions{Options: Options{
		SyncInterval: 30 * time.Second, Delivered: func() Position { return delivered },
	}})
	now := time.Now()
	due := func(after time.Duration) bool {
		now = now.Add(after)
		return r.s.syncer.due(now, r.s.End)
	}
	require.False(t, due(0))
	r.append(0, 10, 1)
	require.False(t, due(29*time.Second))
	require.True(t, due(time.Second), "the first segment is new")
	require.True(t, due(time.Second), "it was not synced so far")
	require.NoError(t, r.s.Sync())
	now = time.Now()
	require.False(t, due(time.Hour), "nothing was written since")

	r.append(0, 10, 2)
	require.False(t, due(time.Second))
	delivered = r.s.End()
	require.False(t, due(time.Hour), "all is delivered")
	r.append(0, 10, 3)
	require.False(t, due(29*time.Second))
	require.False(t, due(900*time.Millisecond))
	require.True(t, due(time.Second), "it has been waiting for the whole interval")
	require.NoError(t, r.s.Sync())
	require.NoError(t, r.s.SyncWritten())

	for ts := int64(4); r.s.End().Segment < 2; ts++ {
		r.append(0, 50, ts)
	}
	delivered, now = r.s.End(), time.Now()
	require.True(t, due(time.Minute), "marks name a segment that is not synced")
	require.NoError(t, r.s.SyncWritten())
	require.Equal(t, 2, r.s.syncer.syncedTo)
	require.False(t, due(time.Minute))
}

// TestAppendLooksForItself: others may have filled the file system since the last look.
func TestAppendLooksForItself(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skip("cannot mount a small file system:", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	const floor = 1 << 20
	r := openRun(t, dir, runOptions{Options: Options{MinFreeBytes: floor}})
	longAgo := func() { r.s.evictor.meter.asked.Store(-int64(time.Minute)) }
	hog := filepath.Join(dir, "hog")
	fill := func(left int64) {
		free, err := freeBytes(dir)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(hog, make([]byte, free-left), fileMode))
	}
	require.True(t, r.s.MayAppend())
	fill(floor / 4)
	require.True(t, r.s.MayAppend(), "the last look was a moment ago")
	longAgo()
	require.False(t, r.s.MayAppend())
	require.True(t, r.s.Refusing())
	select {
	case <-r.s.wakeSweep:
	default:
		t.Error("no sweep was asked for")
	}
	require.NoError(t, os.Remove(hog))
	require.NoError(t, r.s.Sweep())
	require.True(t, r.s.MayAppend())

	fill(floor * 3 / 4)
	longAgo()
	require.True(t, r.s.MayAppend(), "what can be evicted may make room")
	select {
	case <-r.s.wakeSweep:
	default:
		t.Error("no sweep was asked for")
	}
	require.NoError(t, os.Remove(hog))
	r.close()
}
