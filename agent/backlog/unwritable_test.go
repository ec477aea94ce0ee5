package backlog

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// readOnly mounts a directory over itself, read-only, and returns what undoes that.
func readOnly(t *testing.T, dir string) (undo func()) {
	t.Helper()
	for _, args := range [][]string{{"--bind", dir, dir}, {"-o", "remount,bind,ro", dir}} {
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			_ = syscall.Unmount(dir, syscall.MNT_DETACH)
			t.Skipf("cannot mount: %v: %s", err, out)
		}
	}
	undo = func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }
	t.Cleanup(undo)
	return undo
}

// filled returns a run with five segments, which begins at a time.
func filled(t *testing.T, o runOptions, begin int64, truncate bool) *run {
	t.Helper()
	r := openRun(t, t.TempDir(), o)
	for ts := begin; r.s.End().Segment < 4; ts++ {
		r.append(0, 50, ts)
		if truncate && ts%20 == 0 {
			r.truncate()
		}
		require.NoError(t, r.s.Sweep())
	}
	return r
}

// TestReadOnly: whatever the last run left, in wal/ and in the backlog, is read from
// a file system that cannot be written, each sample once, and marks made then stay
// good when it can be.
func TestReadOnly(t *testing.T) {
	noLinks := func(string, string) error { return errors.ErrUnsupported }
	for name, leave := range map[string]func(t *testing.T) (dir string, model []sample){
		"a run": func(t *testing.T) (string, []sample) {
			r := filled(t, runOptions{}, 0, false)
			return r.kill(), r.model
		},
		"a run with checkpoints": func(t *testing.T) (string, []sample) {
			r := filled(t, runOptions{}, 0, true)
			return r.kill(), r.model
		},
		"a run without hard links": func(t *testing.T) (string, []sample) {
			r := filled(t, runOptions{Options: Options{link: noLinks}}, 0, false)
			return r.kill(), r.model
		},
		"a copy without hard links": func(t *testing.T) (string, []sample) {
			r := filled(t, runOptions{}, 0, false)
			dir := filepath.Join(t.TempDir(), "copy")
			out, err := exec.Command("cp", "-r", r.dir, dir).CombinedOutput()
			require.NoError(t, err, string(out))
			r.close()
			return dir, r.model
		},
		"a plain Prometheus agent": func(t *testing.T) (string, []sample) {
			r := filled(t, runOptions{}, 0, false)
			dir := r.kill()
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "backlog")))
			require.NoError(t, os.Mkdir(filepath.Join(dir, "backlog"), dirMode))
			return dir, r.model
		},
		"somebody else's wal": func(t *testing.T) (string, []sample) {
			r, other := filled(t, runOptions{}, 0, false), filled(t, runOptions{}, 5000, false)
			dir := r.kill()
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "wal")))
			require.NoError(t, os.Rename(filepath.Join(other.kill(), "wal"), filepath.Join(dir, "wal")))
			return dir, append(r.model, other.model...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, model := leave(t)
			undo := readOnly(t, dir)
			s, err := Open(Options{Dir: dir, MinFreeBytes: 1, SegmentSize: page, MinGeneration: 2})
			require.NoError(t, err)
			require.ErrorIs(t, s.Unwritable(), syscall.EROFS)
			require.ErrorIs(t, s.TryWrite(), syscall.EROFS)
			require.True(t, s.Refusing())
			require.NoError(t, s.Sweep())
			require.NoError(t, s.Sync())
			c := newConsumer(t, s, Position{}).drain()
			c.requireAll(model)
			require.Equal(t, s.End(), c.r.Position())
			n, err := s.Count(s.Oldest(), s.End())
			require.NoError(t, err)
			require.Equal(t, len(model), int(n.Samples()))
			half := newConsumer(t, s, Position{})
			for len(half.samples) < len(model)/2 {
				require.True(t, half.next())
			}
			mark, next := half.pos, s.NextGeneration()
			require.NoError(t, s.Close())

			undo()
			s = openStore(t, dir, Options{MinGeneration: next})
			require.NoError(t, s.Unwritable())
			c = newConsumer(t, s, mark).drain()
			c.requireAll(model[len(half.samples):])
			require.NotContains(t, c.kinds(), Missing)
		})
	}
}

// TestReleaseInPlace: what is read in place is unlinked under all its names, and does
// not come back. A mark behind it stays good.
func TestReleaseInPlace(t *testing.T) {
	dir := t.TempDir()
	r := openRun(t, dir, runOptions{})
	for ts := int64(0); r.s.End().Segment < 3; ts++ {
		r.append(0, 50, ts)
	}
	dir = r.kill()
	undo := readOnly(t, dir)
	s, err := Open(Options{Dir: dir, MinFreeBytes: 1, SegmentSize: page})
	require.NoError(t, err)
	mark := newConsumer(t, s, Position{}).drain().r.Position()
	require.Error(t, s.Release(mark), "nothing can be unlinked")
	next := s.NextGeneration()
	require.NoError(t, s.Close())
	undo()

	s = openStore(t, dir, Options{MinGeneration: next})
	require.NoError(t, s.Release(mark))
	c := newConsumer(t, s, mark).drain()
	require.Empty(t, c.samples)
	require.Empty(t, c.kinds())
	require.Equal(t, 1, len(ls(t, filepath.Join(dir, "backlog"))))
	require.Empty(t, ls(t, filepath.Join(dir, "wal")))
}

// TestUnusable: where nothing of an earlier run is, and nothing can be created.
func TestUnusable(t *testing.T) {
	dir := t.TempDir()
	readOnly(t, dir)
	_, err := Open(Options{Dir: dir})
	require.ErrorIs(t, err, ErrUnusable)
}
