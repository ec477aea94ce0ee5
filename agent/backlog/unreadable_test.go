package backlog

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// replacements are things that may lie where a file or directory is wanted.
var replacements = map[string]func(t *testing.T, path string){
	"directory": func(t *testing.T, path string) {
		require.NoError(t, os.MkdirAll(filepath.Join(path, "somebody's"), 0o750))
	},
	"link to nowhere": func(t *testing.T, path string) { require.NoError(t, os.Symlink("/nowhere at all", path)) },
	"circle of links": func(t *testing.T, path string) { require.NoError(t, os.Symlink(filepath.Base(path), path)) },
	"pipe":            func(t *testing.T, path string) { require.NoError(t, syscall.Mkfifo(path, 0o640)) },
}

func replace(t *testing.T, path string, with func(*testing.T, string)) (size int64) {
	fi, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(path))
	with(t, path)
	return fi.Size()
}

// Something else lies where a segment was. Its stretch is told, once, and what is
// before and behind it is delivered.
func TestSegmentIsNoFile(t *testing.T) {
	for name, with := range replacements {
		for at, segment := range map[string]int{"first": 0, "middle": 2, "last": 5} {
			for _, running := range []bool{false, true} {
				t.Run(name+" "+at+map[bool]string{false: " before the start", true: " while running"}[running], func(t *testing.T) {
					segmentIsNoFile(t, with, segment, running)
				})
			}
		}
	}
}

func segmentIsNoFile(t *testing.T, with func(*testing.T, string), segment int, running bool) {
	dir, by := finishedRun(t)
	openAndClose(t, dir)
	require.Equal(t, 6, len(by))
	path := segmentFile(dir, 1, segment)
	var size int64
	if !running {
		size = replace(t, path, with)
	}
	s := openStore(t, dir, Options{})
	if running {
		size = replace(t, path, with)
	}
	c := newConsumer(t, s, Position{Generation: 1})
	c.patience = readAttempts - 1
	c.drain()
	rest := append(concat(by[:segment]...), concat(by[segment+1:]...)...)
	require.Equal(t, values(rest), values(c.samples))
	require.Len(t, c.kinds(), 2) // and Generation
	require.Equal(t, Generation, c.kinds()[1])
	for _, e := range c.events {
		if e.Context || e.Kind == Generation {
			continue
		}
		require.LessOrEqual(t, e.Pos.Compare(Position{1, segment, 0}), 0)
		switch {
		case e.Kind == Damaged && running:
			require.Equal(t, Position{1, segment, size}, e.End)
			require.Equal(t, size, e.Lost)
		default:
			require.Equal(t, Position{1, segment + 1, 0}, e.End)
			require.EqualValues(t, -1, e.Lost)
		}
	}
	// It is not told to those who are behind it, and nobody counts it.
	if segment < 5 {
		c = newConsumer(t, s, Position{1, segment + 1, 0})
		c.patience = readAttempts - 1
		c.drain()
		require.Equal(t, values(concat(by[segment+1:]...)), values(c.samples))
		require.Equal(t, []Kind{Generation}, c.kinds())
	}
	counts, err := s.Count(Position{}, s.End())
	require.NoError(t, err)
	require.EqualValues(t, len(rest), counts.Samples())
	require.LessOrEqual(t, testutil.ToFloat64(s.metrics.damaged), 1.0)

	// It keeps nothing on disk, neither from a release nor from an eviction.
	for n := 1; ; n++ {
		err := s.Release(Position{1, 5, 0})
		if segment == 5 || n == readAttempts {
			require.NoError(t, err)
			break
		}
		require.True(t, isNoFile(err), err)
		require.ErrorIs(t, s.Sweep(), errRescuePaused)
		s.rescuer.failedAt = s.rescuer.failedAt.Add(-rescuePause)
	}
	for i := range 5 {
		require.False(t, exists(segmentFile(dir, 1, i)), i)
	}
	require.NoError(t, s.Release(s.End()))
	require.NoError(t, s.Sweep())
	require.Equal(t, []string{segmentName(s.Generation())}, ls(t, filepath.Join(dir, "backlog")))
}

// A segment whose reading fails and that claims to have no bytes is not empty: its
// stretch is told, and what is before and behind it is delivered.
func TestSegmentClaimsToBeEmpty(t *testing.T) {
	for at, segment := range map[string]int{"first": 0, "middle": 2, "last": 5} {
		t.Run(at, func(t *testing.T) {
			dir, by := finishedRun(t)
			openAndClose(t, dir)
			// No address space begins at 0: the kernel answers EIO.
			replace(t, segmentFile(dir, 1, segment), func(t *testing.T, path string) {
				require.NoError(t, os.Symlink("/proc/self/mem", path))
			})
			s := openStore(t, dir, Options{})
			c := newConsumer(t, s, Position{Generation: 1})
			c.patience = readAttempts - 1
			c.drain()
			require.Equal(t, []Kind{Damaged, Generation}, c.kinds())
			require.Equal(t, Position{1, segment + 1, 0}, c.events[0].End)
			require.EqualValues(t, -1, c.events[0].Lost)
			require.ErrorIs(t, c.events[0].Err, syscall.EIO)
			require.Equal(t, values(append(concat(by[:segment]...), concat(by[segment+1:]...)...)), values(c.samples))
			// It is not told to those who are behind it.
			c = newConsumer(t, s, Position{1, segment + 1, 0})
			c.patience = readAttempts - 1
			c.drain()
			require.Equal(t, []Kind{Generation}, c.kinds())
		})
	}
}

// A file that may not be opened is asked for some times, and given up then.
func TestSegmentMayNotBeOpened(t *testing.T) {
	dir, by := finishedRun(t)
	openAndClose(t, dir)
	s := openStore(t, dir, Options{})
	path := segmentFile(dir, 1, 2)
	fi, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(path, 0))
	withoutPrivileges(t, dir, func() {
		c := newConsumer(t, s, Position{Generation: 1})
		c.patience = readAttempts - 1
		c.drain()
		require.Equal(t, c.patience, c.failures)
		require.Equal(t, []Kind{Damaged, Generation}, c.kinds())
		require.Equal(t, Position{1, 2, fi.Size()}, c.events[0].End)
		require.Equal(t, fi.Size(), c.events[0].Lost)
		require.ErrorIs(t, c.events[0].Err, os.ErrPermission)
		require.Equal(t, values(append(concat(by[:2]...), concat(by[3:]...)...)), values(c.samples))

		// From the middle of it, what is behind is lost; from its end, nothing.
		c = newConsumer(t, s, Position{1, 2, 1000})
		c.patience = readAttempts - 1
		c.drain()
		require.Equal(t, []Kind{Damaged, Generation}, c.kinds())
		require.Equal(t, fi.Size()-1000, c.events[0].Lost)
		c = newConsumer(t, s, Position{1, 2, fi.Size()})
		c.patience = readAttempts - 1
		c.drain()
		require.Equal(t, []Kind{Generation}, c.kinds())
		_, err := s.Count(Position{}, s.End())
		require.ErrorIs(t, err, os.ErrPermission)
	})
	require.Equal(t, 1.0, testutil.ToFloat64(s.metrics.damaged))
	require.Equal(t, float64(fi.Size()), testutil.ToFloat64(s.metrics.damagedBytes))
	require.NoError(t, os.Chmod(path, 0o640))
	newConsumer(t, s, Position{Generation: 1}).drain().requireAll(concat(by...))
}

// withoutPrivileges runs f as somebody who may only read what everybody may. The
// directories below dir are opened for everybody.
func withoutPrivileges(t *testing.T, dir string, f func()) {
	if os.Geteuid() != 0 {
		f()
		return
	}
	for path := dir; path != os.TempDir(); path = filepath.Dir(path) {
		require.NoError(t, os.Chmod(path, 0o755))
	}
	for _, sub := range []string{"wal", "backlog", "backlog/" + segmentName(1), "backlog/" + segmentName(2), "backlog/" + segmentName(3)} {
		if path := filepath.Join(dir, sub); isDir(path) {
			require.NoError(t, os.Chmod(path, 0o755))
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "backlog", "*", "0*"))
	require.NoError(t, err)
	for _, file := range files {
		if fi, err := os.Stat(file); err == nil && fi.Mode().Perm() != 0 {
			require.NoError(t, os.Chmod(file, 0o644))
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	require.NoError(t, syscall.Setfsuid(65534)) // of this thread
	defer syscall.Setfsuid(0)
	f()
}

// The segment that is being written may not be opened: that is waited out, and told
// only when the next one has begun.
func TestActiveSegmentMayNotBeOpened(t *testing.T) {
	r := openRun(t, t.TempDir(), runOptions{})
	r.append(0, 40, 1)
	path := segmentFile(r.dir, 1, 0)
	require.NoError(t, os.Chmod(path, 0))
	c := newConsumer(t, r.s, Position{Generation: 1})
	c.patience = readAttempts - 1
	withoutPrivileges(t, r.dir, func() {
		c.drain()
		c.drain()
	})
	require.Equal(t, c.patience, c.failures)
	require.Empty(t, c.events)
	for ts := int64(2); r.s.End().Segment < 1; ts++ {
		r.append(0, 40, ts)
	}
	n := len(r.model)
	withoutPrivileges(t, r.dir, func() { c.drain() })
	require.Equal(t, []Kind{Damaged}, c.kinds())
	require.Equal(t, Position{1, 0, page}, c.events[0].End)
	require.Equal(t, values(r.model[n-len(c.samples):]), values(c.samples))
	require.NotEmpty(t, c.samples)
}

// A process that has no file to spare gives nothing up.
func TestNoFileToSpare(t *testing.T) {
	dir, by := finishedRun(t)
	s := openStore(t, dir, Options{})
	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before))
	few := before
	few.Cur = 0
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few))
	r := s.NewReader(Position{Generation: 1})
	var errs []error
	for range 3 * readAttempts {
		_, err := r.Next()
		errs = append(errs, err)
	}
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before))
	for _, err := range errs {
		require.ErrorIs(t, err, syscall.EMFILE)
	}
	c := newConsumer(t, s, Position{Generation: 1})
	c.r = r
	c.drain().requireAll(concat(by...))
	require.Equal(t, []Kind{Generation}, c.kinds())
}

// A link in backlog/ is removed while upstream still has the segment.
func TestLinkRemovedWhileInWAL(t *testing.T) {
	r := openRun(t, t.TempDir(), runOptions{})
	for ts := int64(0); r.s.End().Segment < 3; ts++ {
		r.append(0, 40, ts)
	}
	require.NoError(t, os.Remove(segmentFile(r.dir, 1, 1)))
	c := newConsumer(t, r.s, Position{}).drain()
	c.requireAll(r.model)
	require.Empty(t, c.kinds())
	require.NoError(t, r.s.Sweep())
	require.True(t, exists(segmentFile(r.dir, 1, 1)))
}

// A generation of which nothing can be read keeps no agent from starting. It stays
// on disk, is told to those whose marks are before or in it, and counted.
func TestUnreadableGeneration(t *testing.T) {
	for name, with := range replacements {
		if name == "directory" {
			continue // it may be a generation
		}
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var models [][]sample
			for n := range 3 {
				r := openRun(t, dir, runOptions{})
				r.append(n*100, n*100+30, 1000*int64(n+1))
				models = append(models, r.model)
				r.close()
			}
			openAndClose(t, dir)
			broken := filepath.Join(dir, "backlog", segmentName(2))
			replace(t, broken, with)
			s := openStore(t, dir, Options{})
			require.Equal(t, 1.0, testutil.ToFloat64(s.metrics.damaged))
			gap := []Kind{Damaged, Generation}

			c := newConsumer(t, s, Position{Generation: 1}).drain()
			c.requireAll(concat(models[0], models[2]))
			require.Equal(t, append(gap, Generation), c.kinds())
			require.Equal(t, Position{Generation: 3}, c.events[0].End)
			require.ErrorContains(t, c.events[0].Err, "generation 2")
			c = newConsumer(t, s, Position{2, 0, 40}).drain()
			c.requireAll(models[2])
			require.Equal(t, append(gap, Generation), c.kinds())
			c = newConsumer(t, s, Position{Generation: 3}).drain()
			c.requireAll(models[2])
			require.Equal(t, []Kind{Generation}, c.kinds())

			require.NoError(t, s.Release(s.End()))
			require.True(t, exists(broken))
			require.False(t, exists(filepath.Join(dir, "backlog", segmentName(3))))
			n := s.Generation()
			require.NoError(t, s.Close())
			require.Greater(t, openAndClose(t, dir).Generation(), n)
		})
	}
}

// The newest generation takes nothing in, so what the last run left in wal/ becomes
// another one.
func TestAdoptBesideUnreadableGeneration(t *testing.T) {
	for name, with := range replacements {
		t.Run(name, func(t *testing.T) {
			r := openRun(t, t.TempDir(), runOptions{})
			r.append(0, 50, 1)
			dir := r.kill()
			replace(t, filepath.Join(dir, "backlog", segmentName(1)), with)
			s := openStore(t, dir, Options{})
			c := newConsumer(t, s, Position{}).drain()
			c.requireAll(r.model)
		})
	}
}

// What lies in wal/ and is no file moves to the backlog, where readers tell of it.
func TestAdoptStrangeThings(t *testing.T) {
	for name, with := range replacements {
		t.Run(name, func(t *testing.T) {
			dir, by := finishedRun(t)
			require.NoError(t, os.Remove(segmentFile(dir, 1, 2)))
			replace(t, filepath.Join(dir, "wal", segmentName(2)), with)
			cp := filepath.Join(dir, "wal", checkpointName(1), segmentName(0))
			require.NoError(t, os.MkdirAll(cp, 0o750)) // a checkpoint that cannot be linked
			s := openStore(t, dir, Options{})
			require.Empty(t, ls(t, filepath.Join(dir, "wal")))
			require.True(t, exists(segmentFile(dir, 1, 2)))
			require.True(t, exists(filepath.Join(dir, "backlog", segmentName(1), checkpointName(1), segmentName(0))))
			c := newConsumer(t, s, Position{Generation: 1})
			c.patience = 10 * readAttempts
			c.drain()
			require.Equal(t, values(append(concat(by[:2]...), concat(by[3:]...)...)), values(c.samples))
			require.Len(t, c.kinds(), 2)
		})
	}
}

// Series records cannot be read: neither a start nor a reader fails.
func TestUnreadableContext(t *testing.T) {
	prepare := func(t *testing.T) (dir string, model []sample, from Position) {
		r := openRun(t, t.TempDir(), runOptions{})
		for ts := int64(0); r.s.End().Segment < 9; ts++ {
			r.append(int(ts)/5*7, int(ts)/5*7+40, ts)
		}
		r.truncate()
		require.NoError(t, r.s.Sweep())
		k := r.s.inv.running().checkpoints[0].index
		dir = r.kill()
		s := openStore(t, dir, Options{})
		from = Position{Generation: 1, Segment: k + 2}
		require.NoError(t, s.Release(from))
		require.NoError(t, s.Close())
		require.Len(t, ls(t, filepath.Join(dir, "backlog", segmentName(1), seriesDir)), 1)
		return dir, r.model, from
	}
	read := func(t *testing.T, s *Store, from Position) *consumer {
		c := newConsumer(t, s, from)
		c.patience = 10 * readAttempts
		c.drain()
		require.Equal(t, []Kind{Generation}, c.kinds())
		require.True(t, c.events[0].Context)
		require.Equal(t, Damaged, c.events[0].Kind)
		require.NotEmpty(t, c.samples)
		return c
	}
	t.Run("series", func(t *testing.T) {
		for name, with := range replacements {
			t.Run(name, func(t *testing.T) {
				dir, model, from := prepare(t)
				replace(t, filepath.Join(dir, "backlog", segmentName(1), seriesDir), with)
				s := openStore(t, dir, Options{})
				c := newConsumer(t, s, from)
				if name != "directory" { // an empty one, in effect
					c = read(t, s, from)
					require.Equal(t, 1.0, testutil.ToFloat64(s.metrics.damaged))
				} else {
					c.drain()
				}
				require.Equal(t, values(model[len(model)-len(c.samples):]), values(c.samples))
			})
		}
	})
	t.Run("checkpoint", func(t *testing.T) {
		dir, model, from := prepare(t)
		files, err := filepath.Glob(filepath.Join(dir, "backlog", segmentName(1), "checkpoint.*", segmentName(0)))
		require.NoError(t, err)
		require.Len(t, files, 1)
		replace(t, files[0], replacements["circle of links"])
		s := openStore(t, dir, Options{})
		c := read(t, s, from)
		require.Equal(t, values(model[len(model)-len(c.samples):]), values(c.samples))
		require.NoError(t, s.Release(Position{Generation: 1, Segment: from.Segment + 1}), "it is not relied upon")
		for range readAttempts {
			require.Equal(t, -1, s.rescuer.checkpoints.base(s.inv.generations[0], from.Segment+1))
		}
		require.Equal(t, damaged, s.inv.generations[0].checkpoints[0].state)
	})
}

// Where the series of the oldest data cannot be put elsewhere, the rest of their run
// is of no use, and goes with them when there is no room.
func TestEvictWithoutRescue(t *testing.T) {
	for name, with := range replacements {
		for _, running := range []bool{false, true} {
			if name == "directory" || running && name != "circle of links" {
				continue
			}
			t.Run(name+map[bool]string{false: " before the start", true: " while running"}[running], func(t *testing.T) {
				dir, by := finishedRun(t)
				openAndClose(t, dir)
				series := filepath.Join(dir, "backlog", segmentName(1), seriesDir)
				l := &ledger{}
				if !running {
					with(t, series)
				}
				r := openRun(t, dir, runOptions{Options: Options{MaxBytes: 20 * page, OnEvict: l.onEvict(t)}})
				if running {
					with(t, series)
				}
				l.s = r.s
				for ts := int64(1e6); r.s.End().Segment < 30; ts++ {
					r.append(0, 50, ts)
					require.NoError(t, r.s.Sweep())
					require.False(t, r.s.Refusing())
				}
				require.False(t, exists(filepath.Dir(series)))
				l.requireBalance(t, r.s, append(concat(by...), r.model...))
			})
		}
	}
}
