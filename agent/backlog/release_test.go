package backlog

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// A finished generation is delivered segment by segment, with restarts in between.
func TestReleaseFinishedGeneration(t *testing.T) {
	dir, by := finishedRun(t)
	s := openStore(t, dir, Options{})
	for i := 1; i < len(by); i++ {
		from := Position{Generation: 1, Segment: i}
		require.NoError(t, s.Release(from))
		require.False(t, exists(segmentFile(dir, 1, i-1)))
		require.Equal(t, from, s.Oldest())
		c := newConsumer(t, s, from).drain()
		c.requireAll(concat(by[i:]...))
		require.Equal(t, []Kind{Generation}, c.kinds())
		require.NotZero(t, c.context)
		require.Equal(t, []string{segmentName(i - 1)}, ls(t, filepath.Join(dir, "backlog", segmentName(1), "series")))
		if i%2 == 0 {
			require.NoError(t, s.Close())
			s = openStore(t, dir, Options{})
		}
	}
	// The last segment stays, because marks point to its end, until the next
	// generation has been reached.
	end := newConsumer(t, s, Position{Generation: 1, Segment: len(by) - 1})
	end.next()
	require.NoError(t, s.Release(Position{Generation: 1, Segment: len(by)}))
	require.True(t, exists(segmentFile(dir, 1, len(by)-1)))
	require.NoError(t, s.Release(s.End()))
	require.Equal(t, []string{segmentName(s.Generation())}, ls(t, filepath.Join(dir, "backlog")))
	require.Equal(t, s.End(), s.Oldest())
	c := newConsumer(t, s, end.pos).drain()
	require.Equal(t, []Kind{Generation}, c.kinds(), "nobody needed it")
}

// While upstream has a segment, nothing is gained by giving it up; after its
// truncation a checkpoint holds the series. So nothing is ever written twice.
func TestReleaseWaitsForTruncation(t *testing.T) {
	r := openRun(t, t.TempDir(), runOptions{})
	gen := filepath.Join(r.dir, "backlog", segmentName(1))
	for ts := int64(0); r.s.End().Segment < 6; ts++ {
		r.append(int(ts)%7*20, int(ts)%7*20+40, ts)
	}
	read := newConsumer(t, r.s, Position{}).drain()
	require.NoError(t, r.s.Release(read.pos))
	require.Equal(t, Position{Generation: 1, Segment: 6}, r.s.Oldest())
	require.True(t, exists(filepath.Join(gen, segmentName(0))))
	require.Equal(t, inodeBytes(filepath.Join(r.dir)), r.s.Usage().TotalBytes+sizeOf(t, r, 0, 6))

	r.truncate()
	require.Greater(t, r.firstInWAL(), 2)
	require.NoError(t, r.s.Sweep())
	require.Equal(t, ls(t, filepath.Join(r.dir, "wal")), ls(t, gen))
	require.Equal(t, inodeBytes(r.dir), r.s.Usage().TotalBytes)
	n := len(r.model)
	r.append(0, 180, 5000)
	c := newConsumer(t, r.s, read.pos).drain()
	c.requireAll(r.model[n:])
	require.Empty(t, c.events)
}

// sizeOf returns the size of segments from a run whose store has not swept yet.
func sizeOf(t *testing.T, r *run, from, to int) (sum int64) {
	for i := from; i <= to; i++ {
		fi, err := os.Stat(filepath.Join(r.dir, "wal", segmentName(i)))
		require.NoError(t, err)
		sum += fi.Size()
	}
	return sum
}

// Upstream's checkpoint lacks deleted series, whose samples a slow destination
// still needs.
func TestDeletedSeriesStayReadable(t *testing.T) {
	r := openRun(t, t.TempDir(), runOptions{keep: 1})
	for ts := int64(0); r.s.End().Segment < 12; ts++ {
		r.append(int(ts)%50*10, int(ts)%50*10+10, ts)
		if ts%25 == 0 {
			r.truncate() // and all series are gone from memory
			require.NoError(t, r.s.Sweep())
		}
	}
	require.NoError(t, r.s.Sweep())
	all := newConsumer(t, r.s, Position{})
	at := []Position{}
	n := []int{}
	for all.next() {
		at, n = append(at, all.pos), append(n, len(all.samples))
	}
	all.requireAll(r.model)
	for i := 0; i < len(at); i += 11 {
		require.NoError(t, r.s.Release(at[i]))
		c := newConsumer(t, r.s, at[i]).drain()
		c.requireAll(r.model[n[i]:])
		require.Empty(t, c.events)
	}
	g := r.s.inv.running()
	require.LessOrEqual(t, len(g.checkpoints), 2)
}

// Two checkpoints are kept: one below the oldest segment, and one above, which
// lacks series that were deleted in between.
func TestNewerCheckpointIsNotEnough(t *testing.T) {
	r := openRun(t, t.TempDir(), runOptions{keep: 1})
	fill := func(ts, segments int64) {
		for end := r.s.End().Segment + int(segments); r.s.End().Segment < end; ts++ {
			r.append(0, 40, ts)
		}
	}
	fill(0, 9)
	slow := newConsumer(t, r.s, Position{})
	r.truncate()
	require.NoError(t, r.s.Sweep())
	for slow.pos.Segment < r.firstInWAL() {
		require.True(t, slow.next())
	}
	require.NoError(t, r.s.Release(slow.pos))
	require.Equal(t, r.firstInWAL(), r.s.Oldest().Segment)
	fill(1e6, 9)
	r.truncate()
	require.NoError(t, r.s.Sweep())
	g := r.s.inv.running()
	require.Len(t, g.checkpoints, 2)
	require.Less(t, g.checkpoints[0].index, g.segments[0].index)
	require.Greater(t, g.checkpoints[1].index, g.segments[0].index)
	c := newConsumer(t, r.s, slow.pos).drain()
	c.requireAll(r.model[len(slow.samples):])
}

func TestDamagedCheckpoint(t *testing.T) {
	prepare := func(t *testing.T) *run {
		r := openRun(t, t.TempDir(), runOptions{})
		for ts := int64(0); r.s.End().Segment < 6; ts++ {
			r.append(int(ts)%7*20, int(ts)%7*20+40, ts)
		}
		r.truncate()
		require.NoError(t, r.s.Sweep())
		for ts := int64(10000); r.s.End().Segment < r.firstInWAL()+7; ts++ {
			r.append(int(ts)%7*20+200, int(ts)%7*20+240, ts)
		}
		return r
	}
	checkpoints := func(dir string) (paths []string) {
		paths, err := filepath.Glob(filepath.Join(dir, "checkpoint.*"))
		require.NoError(t, err)
		return paths
	}
	t.Run("when it is linked", func(t *testing.T) {
		r := prepare(t)
		read := newConsumer(t, r.s, Position{}).drain()
		r.truncate()
		cp := checkpoints(filepath.Join(r.dir, "wal"))
		require.Len(t, cp, 1)
		flip(t, filepath.Join(cp[0], segmentName(0)), 100)
		require.NoError(t, r.s.Release(read.pos))
		require.NoError(t, r.s.Sweep())
		require.Len(t, checkpoints(filepath.Join(r.dir, "backlog", segmentName(1))), 2, "the old one is still needed")
		dir := r.kill()
		s := openStore(t, dir, Options{})
		c := newConsumer(t, s, read.pos).drain()
		require.Equal(t, []Kind{Generation}, c.kinds())
		require.True(t, c.events[0].Context)
		require.Equal(t, Damaged, c.events[0].Kind)
		// All series can still be resolved.
		c = newConsumer(t, s, s.Oldest()).drain()
		require.NotEmpty(t, c.samples)
		c.requireAll(r.model[len(r.model)-len(c.samples):])
	})
	t.Run("later", func(t *testing.T) {
		r := prepare(t)
		read := newConsumer(t, r.s, Position{}).drain()
		require.NoError(t, r.s.Release(read.pos))
		r.truncate()
		require.NoError(t, r.s.Sweep())
		dir := r.kill()
		cp := checkpoints(filepath.Join(dir, "backlog", segmentName(1)))
		require.Len(t, cp, 1)
		require.NoError(t, os.Truncate(filepath.Join(cp[0], segmentName(0)), 2000))
		s := openStore(t, dir, Options{})
		c := newConsumer(t, s, s.Oldest()).drain()
		require.NotZero(t, c.unknown)
		require.True(t, c.events[0].Context)
		require.Equal(t, Damaged, c.events[0].Kind)
	})
}

// The process dies after series were rescued, and before the segment is unlinked.
func TestRescueTwice(t *testing.T) {
	dir, by := finishedRun(t)
	s := openStore(t, dir, Options{})
	require.NoError(t, s.rescuer.rescue(s.inv.generations[0], []int{0, 1}))
	require.NoError(t, s.Close())
	s = openStore(t, dir, Options{})
	require.NoError(t, s.Release(Position{Generation: 1, Segment: 4}))
	c := newConsumer(t, s, Position{Generation: 1, Segment: 4}).drain()
	c.requireAll(concat(by[4:]...))
	require.Equal(t, []string{segmentName(3)}, ls(t, filepath.Join(dir, "backlog", segmentName(1), "series")))
}

// A reader that is still before a released position must not lose its context.
func TestReleaseUnderReaders(t *testing.T) {
	dir, by := finishedRun(t)
	s := openStore(t, dir, Options{})
	from := Position{Generation: 1, Segment: 4}
	ahead := newConsumer(t, s, from) // reads segments 0 to 3 for context
	for range 2 {
		require.True(t, ahead.next())
	}
	require.Zero(t, len(ahead.samples))
	require.NoError(t, s.Release(from))
	ahead.drain().requireAll(concat(by[4:]...))
	require.Equal(t, []Kind{Generation}, ahead.kinds())
}

// What a reader was about to read before the segments is replaced, or removed.
func TestPreambleVanishes(t *testing.T) {
	r := openRun(t, t.TempDir(), runOptions{})
	for ts := int64(0); r.s.End().Segment < 9; ts++ {
		r.append(int(ts)/5*7, int(ts)/5*7+40, ts)
	}
	r.truncate()
	require.NoError(t, r.s.Sweep())
	k := r.s.inv.running().checkpoints[0].index
	dir := r.kill()
	s := openStore(t, dir, Options{})
	require.NoError(t, s.Release(Position{Generation: 1, Segment: k + 2}))

	from := Position{Generation: 1, Segment: k + 4}
	c := newConsumer(t, s, from)
	require.True(t, c.next())
	require.Contains(t, c.r.preamble.dirs, s.inv.generations[0].seriesPath(k+1))
	require.NoError(t, s.Release(Position{Generation: 1, Segment: k + 3}))
	c.drain()
	require.Equal(t, []Kind{Generation}, c.kinds())
	want := r.model[len(r.model)-len(c.samples):]
	require.NotEmpty(t, want)
	c.requireAll(want)

	c = newConsumer(t, s, from)
	require.NoError(t, os.RemoveAll(s.inv.generations[0].seriesPath(k+2)))
	c.drain()
	require.Equal(t, []Kind{Generation}, c.kinds())
	require.True(t, c.events[0].Context)
	require.Equal(t, Damaged, c.events[0].Kind)
	c.requireAll(want) // the checkpoint knows them all
}

// Segments that define no series cost nothing when they are released: what was
// rescued before them stands for them too.
func TestReleaseWithoutSeries(t *testing.T) {
	r := openRun(t, t.TempDir(), runOptions{segment: 8 * page})
	r.append(0, 4000, 1) // more than is merged
	for ts := int64(2); r.s.End().Segment < 7; ts++ {
		r.append(0, 4000, ts)
	}
	dir := r.kill()
	s := openStore(t, dir, Options{})
	series := filepath.Join(dir, "backlog", segmentName(1), "series")
	for i := 1; i < 4; i++ { // nobody has read them
		require.NoError(t, s.Release(Position{Generation: 1, Segment: i}))
	}
	require.Len(t, ls(t, series), 1)
	require.Greater(t, dirBytes(series), s.rescuer.mergeBelow, "the case is about what is not merged")
	n := testutil.ToFloat64(s.metrics.rescues)
	newConsumer(t, s, Position{Generation: 1, Segment: 3}).drain()
	for i := range s.inv.generations[0].segments[:2] {
		require.True(t, s.inv.generations[0].segments[i].contextFree, "what was read is known")
	}
	require.NoError(t, s.Release(Position{Generation: 1, Segment: 5}))
	require.Equal(t, []string{segmentName(4)}, ls(t, series))
	require.Equal(t, n, testutil.ToFloat64(s.metrics.rescues))
	c := newConsumer(t, s, Position{Generation: 1, Segment: 5}).drain()
	c.requireAll(r.model[len(r.model)-len(c.samples):])
	require.NotEmpty(t, c.samples)
}
