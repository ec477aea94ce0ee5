package backlog

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// finishedRun leaves a finished generation of several segments behind, each with
// series records, and returns the directory and what was committed to each
// segment.
func finishedRun(t *testing.T) (dir string, bySegment [][]sample) {
	r := openRun(t, t.TempDir(), runOptions{})
	for ts := int64(0); r.s.End().Segment < 5; ts++ {
		r.append(int(ts)/5*7, int(ts)/5*7+40, ts)
	}
	r.append(0, 40, 10000)
	c := newConsumer(t, r.s, Position{})
	bySegment = make([][]sample, r.s.End().Segment+1)
	for n := 0; c.next(); n = len(c.samples) {
		bySegment[c.pos.Segment] = append(bySegment[c.pos.Segment], c.samples[n:]...)
	}
	return r.kill(), bySegment
}

func concat(parts ...[]sample) (all []sample) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func segmentFile(dir string, generation, i int) string {
	return filepath.Join(dir, "backlog", segmentName(generation), segmentName(i))
}

func flip(t *testing.T, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, offset)
	require.NoError(t, err)
	b[0] ^= 0xff
	_, err = f.WriteAt(b, offset)
	require.NoError(t, err)
}

func TestDamageInTheMiddle(t *testing.T) {
	dir, by := finishedRun(t)
	flip(t, segmentFile(dir, 1, 2), page/2)
	s := openStore(t, dir, Options{})
	c := newConsumer(t, s, Position{}).drain()
	require.Equal(t, []Kind{Damaged, Generation}, c.kinds())
	lost := c.events[0]
	require.Equal(t, 2, lost.Pos.Segment)
	require.Equal(t, Position{1, 2, page}, lost.End)
	require.Equal(t, lost.End.Offset-lost.Pos.Offset, lost.Lost)
	require.Less(t, lost.Pos.Offset, int64(page/2))
	require.ErrorContains(t, lost.Err, "00000001/00000002")
	before, behind := concat(by[:2]...), concat(by[3:]...)
	require.Equal(t, values(before), values(c.samples[:len(before)]))
	require.Equal(t, values(behind), values(c.samples[len(c.samples)-len(behind):]))
	require.Less(t, len(c.samples), len(concat(by...)))
	require.Greater(t, len(c.samples), len(before)+len(behind))

	// From behind the damage, it matters for series only.
	c = newConsumer(t, s, lost.End).drain()
	require.Equal(t, values(behind), values(c.samples))
	require.Equal(t, []Kind{Generation}, c.kinds())
	require.True(t, c.events[0].Context)
	require.Equal(t, Damaged, c.events[0].Kind)

	// The count agrees, and the damage counts once.
	counts, err := s.Count(Position{}, s.End())
	require.NoError(t, err)
	require.EqualValues(t, len(concat(by...))-len(by[2])+len(readable(t, s, 2)), counts.Samples())
	require.Len(t, s.damage.noted, 1)
}

// values drops what depends on series records.
func values(samples []sample) (v []float64) {
	for _, s := range samples {
		v = append(v, s.v)
	}
	return v
}

// Series records that are damaged in a segment may be found in a checkpoint that
// is too new to rely on otherwise.
func TestDamageConsultsCheckpoints(t *testing.T) {
	r := openRun(t, t.TempDir(), runOptions{})
	for ts := int64(0); r.s.End().Segment < 5; ts++ {
		r.append(int(ts)/5*7, int(ts)/5*7+40, ts)
	}
	r.truncate()
	dir := r.kill()
	openAndClose(t, dir)
	flip(t, segmentFile(dir, 1, 1), page/3)
	require.NoError(t, os.Remove(segmentFile(dir, 1, 3)))
	s := openStore(t, dir, Options{})
	c := newConsumer(t, s, Position{}).drain()
	require.Equal(t, []Kind{Damaged, Missing, Generation}, c.kinds())
	require.Zero(t, c.unknown)
}

func readable(t *testing.T, s *Store, segment int) (samples []sample) {
	c := newConsumer(t, s, Position{})
	for n := 0; c.next(); n = len(c.samples) {
		if c.pos.Segment == segment && c.pos.Generation == 1 {
			samples = append(samples, c.samples[n:]...)
		}
	}
	return samples
}

func TestCutSegments(t *testing.T) {
	t.Run("the last one", func(t *testing.T) {
		dir, by := finishedRun(t)
		last := len(by) - 1
		openAndClose(t, dir)
		path := segmentFile(dir, 1, last)
		fi, err := os.Stat(path)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(path, fi.Size()-400))
		s := openStore(t, dir, Options{})
		c := newConsumer(t, s, Position{}).drain()
		require.Equal(t, []Kind{Generation}, c.kinds(), "a kill does that")
		c.requireAll(concat(by...)[:len(c.samples)])
		require.Less(t, len(c.samples), len(concat(by...)))
	})
	t.Run("one in the middle", func(t *testing.T) {
		dir, by := finishedRun(t)
		openAndClose(t, dir)
		require.NoError(t, os.Truncate(segmentFile(dir, 1, 2), 20000))
		s := openStore(t, dir, Options{})
		c := newConsumer(t, s, Position{}).drain()
		require.Equal(t, []Kind{Damaged, Generation}, c.kinds())
		require.Equal(t, int64(20000), c.events[0].End.Offset)
		rest := concat(by[3:]...)
		require.Equal(t, values(rest), values(c.samples[len(c.samples)-len(rest):]))
	})
	t.Run("at the end of a page", func(t *testing.T) {
		// The offset of upstream's reader equals the size here, because the first
		// half of the record is there.
		r := openRun(t, t.TempDir(), runOptions{segment: 4 * page})
		for ts := int64(0); r.s.End().Segment < 1; ts++ {
			r.append(0, 40, ts)
		}
		dir := r.kill()
		openAndClose(t, dir)
		require.NoError(t, os.Truncate(segmentFile(dir, 1, 0), page))
		s := openStore(t, dir, Options{})
		c := newConsumer(t, s, Position{}).drain()
		require.Equal(t, []Kind{Damaged, Generation}, c.kinds())
		require.Positive(t, c.events[0].Lost)
	})
}

func openAndClose(t *testing.T, dir string) *Store {
	s := openStore(t, dir, Options{})
	require.NoError(t, s.Close())
	return s
}

func TestMissingSegment(t *testing.T) {
	for _, gone := range []int{0, 2} {
		dir, by := finishedRun(t)
		openAndClose(t, dir)
		require.NoError(t, os.Remove(segmentFile(dir, 1, gone)))
		s := openStore(t, dir, Options{})
		c := newConsumer(t, s, Position{Generation: 1}).drain()
		require.Equal(t, []Kind{Missing, Generation}, c.kinds())
		require.Equal(t, Position{1, gone + 1, 0}, c.events[0].End)
		require.EqualValues(t, -1, c.events[0].Lost)
		require.Equal(t, len(concat(by...))-len(by[gone]), len(c.samples))
	}
}

// The first segment of a later generation is missing, which no mark points to.
func TestMissingBeginning(t *testing.T) {
	dir := t.TempDir()
	for n := range 2 {
		r := openRun(t, dir, runOptions{})
		for ts := int64(0); r.s.End().Segment < 2; ts++ {
			r.append(n*100, n*100+40, ts)
		}
		r.close()
	}
	openAndClose(t, dir)
	require.NoError(t, os.Remove(segmentFile(dir, 2, 0)))
	s := openStore(t, dir, Options{})
	c := newConsumer(t, s, Position{}).drain()
	require.Equal(t, []Kind{Missing, Generation, Generation}, c.kinds())
	require.Equal(t, Position{2, 1, 0}, c.events[0].End)
}

// Somebody removes a file while the store runs.
func TestSegmentRemovedUnderTheReader(t *testing.T) {
	dir, by := finishedRun(t)
	s := openStore(t, dir, Options{})
	c := newConsumer(t, s, Position{Generation: 1})
	require.True(t, c.next())
	require.NoError(t, os.Remove(segmentFile(dir, 1, 2)))
	c.drain()
	require.Equal(t, []Kind{Missing, Generation}, c.kinds())
	require.Equal(t, len(concat(by...))-len(by[2]), len(c.samples))
}

func TestDamageInTheActiveSegment(t *testing.T) {
	r := openRun(t, t.TempDir(), runOptions{})
	r.append(0, 40, 1)
	before := r.s.End()
	r.append(0, 40, 2)
	flip(t, filepath.Join(r.dir, "wal", segmentName(0)), before.Offset+20)
	c := newConsumer(t, r.s, Position{}).drain()
	require.Equal(t, before, c.pos)
	require.Empty(t, c.events, "it may be a write seen half done")
	c.drain()
	flip(t, filepath.Join(r.dir, "wal", segmentName(0)), before.Offset+20) // it was
	for ts := int64(3); r.s.End().Segment < 1; ts++ {
		r.append(0, 40, ts)
		if ts%3 == 0 {
			c.drain()
		}
	}
	c.drain().requireAll(r.model)

	// The same with lasting damage.
	before = r.s.End()
	n := len(r.model)
	r.append(0, 40, 1000)
	flip(t, filepath.Join(r.dir, "wal", segmentName(1)), before.Offset+20)
	c.drain()
	require.Empty(t, c.events)
	for ts := int64(1001); r.s.End().Segment < 2; ts++ {
		r.append(0, 40, ts)
	}
	c.drain()
	require.Equal(t, []Kind{Damaged}, c.kinds())
	require.Equal(t, before, c.events[0].Pos)
	require.Equal(t, Position{1, 1, page}, c.events[0].End)
	require.Equal(t, r.model[:n], c.samples[:n])
	require.Equal(t, r.model[len(r.model)-1], c.samples[len(c.samples)-1])
}
