package backlog

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCrashLoopLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	r := openRun(t, dir, runOptions{})
	r.append(0, 20, 1)
	model := r.model
	mark := newConsumer(t, r.s, Position{}).drain().pos
	dir = r.kill()
	var emptyMark Position
	var size int64
	for n := range 50 {
		r := openRun(t, dir, runOptions{})
		require.Equal(t, n+2, r.s.Generation())
		// Series were created, but nothing was committed.
		app := r.db.Appender(t.Context())
		for i := range 20 {
			_, err := app.Append(0, seriesLabels(i), 2, 1)
			require.NoError(t, err)
		}
		require.NoError(t, app.Rollback())
		r.s.Notify()
		require.NoError(t, r.s.Sweep())
		if n == 10 {
			emptyMark = newConsumer(t, r.s, Position{}).drain().pos
			require.Equal(t, r.s.Generation(), emptyMark.Generation)
			require.NotZero(t, emptyMark.Offset)
		}
		if n == 0 {
			size = inodeBytes(dir)
		}
		require.Len(t, ls(t, filepath.Join(dir, "backlog")), 2)
		require.LessOrEqual(t, inodeBytes(dir), size+64)
		if n%5 == 0 {
			dir = r.kill()
		} else {
			r.close()
		}
	}
	s := openStore(t, dir, Options{})
	c := newConsumer(t, s, Position{}).drain()
	c.requireAll(model)
	require.Equal(t, []Kind{Generation}, c.kinds())

	// Nothing was lost behind any of the marks, though their generations are gone.
	for _, from := range []Position{mark, emptyMark} {
		c = newConsumer(t, s, from).drain()
		c.requireAll(nil)
		require.Equal(t, []Kind{Generation}, c.kinds())
	}
}

func TestGenerationNumbersNeverComeBack(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{MinGeneration: 7})
	require.Equal(t, 7, s.Generation())
	require.NoError(t, s.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "backlog")))

	s = openStore(t, dir, Options{MinGeneration: 8})
	require.Equal(t, 8, s.Generation())
	c := newConsumer(t, s, Position{Generation: 7, Segment: 3, Offset: 500}).drain()
	require.Equal(t, []Kind{Missing, Generation}, c.kinds())
	require.EqualValues(t, -1, c.events[0].Lost)
}

func TestAdoptPlainPrometheusAgent(t *testing.T) {
	dir := t.TempDir()
	r := openRun(t, dir, runOptions{})
	for ts := int64(0); r.firstInWAL() < 3; ts++ {
		r.append(0, 50, ts)
		if ts%20 == 0 {
			r.truncate()
		}
	}
	// A plain agent has neither backlog/ nor lock.
	first := r.firstInWAL()
	dir = r.kill()
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "backlog")))
	require.NoError(t, os.Remove(filepath.Join(dir, "lock")))

	s := openStore(t, dir, Options{})
	require.Equal(t, 2, s.Generation())
	require.Empty(t, ls(t, filepath.Join(dir, "wal")))
	oldest := s.Oldest()
	require.Equal(t, 1, oldest.Generation)
	require.GreaterOrEqual(t, oldest.Segment, first)
	c := newConsumer(t, s, Position{}).drain()
	require.Equal(t, []Kind{Generation}, c.kinds())
	require.NotZero(t, c.context, "the checkpoint was not read")
	require.NotEmpty(t, c.samples)
	c.requireAll(r.model[len(r.model)-len(c.samples):])
}

// Adoption is interrupted at each of its steps, and completed by the next start.
func TestAdoptInterrupted(t *testing.T) {
	dir := t.TempDir()
	r := openRun(t, dir, runOptions{})
	for ts := int64(0); r.firstInWAL() < 3; ts++ {
		r.append(0, 50, ts)
		if ts%20 == 0 {
			r.truncate()
		}
	}
	require.NoError(t, r.s.Sweep())
	dir = r.kill()
	model := r.model
	for _, f := range ls(t, filepath.Join(dir, "backlog", segmentName(1))) {
		// Some were linked, some not.
		if n, err := strconv.Atoi(f); err == nil && n%2 == 0 && exists(filepath.Join(dir, "wal", f)) {
			require.NoError(t, os.Remove(filepath.Join(dir, "backlog", segmentName(1), f)))
		}
	}
	for fail := 1; ; fail++ {
		broken := filepath.Join(t.TempDir(), "copy")
		out, err := exec.Command("cp", "-a", dir, broken).CombinedOutput()
		require.NoError(t, err, string(out))
		links := 0
		_, err = Open(Options{Dir: broken, MinFreeBytes: 1, SegmentSize: page, link: func(from, to string) error {
			if links++; links > fail { // the first is the probe
				return errors.New("power cut")
			}
			return os.Link(from, to)
		}})
		done := err == nil
		if !done {
			require.ErrorContains(t, err, "power cut")
			if fail%2 == 0 {
				// Some were removed from wal/ already.
				require.NoError(t, removeFile(filepath.Join(broken, "wal", segmentName(r.firstInBacklog(broken)))))
			}
		}
		if done {
			break
		}
		s := openStore(t, broken, Options{})
		require.Empty(t, ls(t, filepath.Join(broken, "wal")))
		c := newConsumer(t, s, Position{}).drain()
		c.requireAll(model)
		require.Equal(t, []Kind{Generation}, c.kinds())
		require.NoError(t, s.Close())
	}
}

func (r *run) firstInBacklog(dir string) int {
	g, err := loadGeneration(filepath.Join(dir, "backlog"), 1, func(string, error) {})
	require.NoError(r.t, err)
	first, _ := g.first()
	return first
}

// A plain Prometheus agent has deleted wal/ and written another one since.
func TestAdoptForeignWAL(t *testing.T) {
	dir := t.TempDir()
	r := openRun(t, dir, runOptions{})
	r.append(0, 50, 1)
	r.close()
	model := r.model

	other := openRun(t, t.TempDir(), runOptions{})
	other.append(100, 120, 2)
	other.close()
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "wal")))
	require.NoError(t, os.Rename(filepath.Join(other.dir, "wal"), filepath.Join(dir, "wal")))

	s := openStore(t, dir, Options{})
	require.Equal(t, 3, s.Generation())
	c := newConsumer(t, s, Position{}).drain()
	c.requireAll(append(model, other.model...))
}

// A directory that was copied without its hard links is delivered once.
func TestAdoptCopiedDirectory(t *testing.T) {
	for _, longer := range []string{"wal", "backlog/00000001"} {
		r := openRun(t, t.TempDir(), runOptions{})
		for ts := int64(0); r.s.End().Segment < 2; ts++ {
			r.append(0, 50, ts)
		}
		dir := filepath.Join(t.TempDir(), "copy")
		require.NoError(t, os.CopyFS(dir, os.DirFS(r.dir)))
		r.close()
		for _, sub := range []string{"wal", "backlog/00000001"} {
			if sub != longer {
				require.NoError(t, os.Truncate(filepath.Join(dir, sub, segmentName(2)), 100))
			}
		}
		s := openStore(t, dir, Options{})
		c := newConsumer(t, s, Position{}).drain()
		c.requireAll(r.model)
		require.Equal(t, []Kind{Generation}, c.kinds())
	}
}

// A start must not depend on the size of the backlog: whoever opens a pipe to read
// it waits for ever.
func TestOpenReadsNothing(t *testing.T) {
	dir, by := finishedRun(t)
	openAndClose(t, dir)
	for i := 1; i < len(by); i++ {
		require.NoError(t, os.Remove(segmentFile(dir, 1, i)))
		require.NoError(t, syscall.Mkfifo(segmentFile(dir, 1, i), 0o600))
	}
	opened := make(chan int)
	go func() { opened <- openStore(t, dir, Options{}).Generation() }()
	select {
	case n := <-opened:
		require.Equal(t, 3, n)
	case <-time.After(20 * time.Second):
		t.Fatal("Open reads the backlog")
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	_, err := Open(Options{Dir: dir})
	require.Error(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, openStore(t, dir, Options{}).Close())
}
