package backlog

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPending(t *testing.T) {
	dir, _ := finishedRun(t)
	r := openRun(t, dir, runOptions{})
	for ts := int64(1e6); r.s.End().Segment < 2; ts++ {
		r.append(0, 40, ts)
	}
	require.NoError(t, r.s.Sweep())
	require.Equal(t, inodeBytes(dir), r.s.Pending(Position{}))
	c := newConsumer(t, r.s, Position{})
	for c.next() {
		// All that lies behind, as its files say.
		var want int64
		for _, name := range []string{segmentName(1), segmentName(2)} {
			for i := range 10 {
				p := Position{Generation: 1, Segment: i}
				if name == segmentName(2) {
					p.Generation = 2
				}
				if fi, err := os.Stat(filepath.Join(dir, "backlog", name, segmentName(i))); err == nil {
					p.Offset = fi.Size()
					if p.Compare(c.pos) > 0 {
						want += fi.Size()
						if p.Generation == c.pos.Generation && p.Segment == c.pos.Segment {
							want -= c.pos.Offset
						}
					}
				}
			}
		}
		require.Equal(t, want, r.s.Pending(c.pos), c.pos)
	}
	require.Zero(t, r.s.Pending(r.s.End()))

	require.NoError(t, r.s.Release(Position{Generation: 2}))
	require.NoError(t, r.s.Sweep())
	require.Equal(t, inodeBytes(dir), r.s.Pending(Position{}))
}

// What has been counted as a whole is remembered, so that the next destination need
// not read it again; the segment being written is not.
func TestCountRemembers(t *testing.T) {
	dir, by := finishedRun(t)
	r := openRun(t, dir, runOptions{})
	r.append(0, 40, 1e6)
	all, err := r.s.Count(Position{}, r.s.End())
	require.NoError(t, err)
	require.EqualValues(t, len(concat(by...))+40, all.Samples())
	for i := range by {
		flip(t, segmentFile(dir, 1, i), 10)
	}
	again, err := r.s.Count(Position{}, r.s.End())
	require.NoError(t, err)
	require.Equal(t, all, again)
	r.append(0, 40, 1e6+1)
	again, err = r.s.Count(Position{Generation: 2}, r.s.End())
	require.NoError(t, err)
	require.EqualValues(t, 80, again.Samples())
	part, err := r.s.Count(Position{Generation: 1, Segment: 1, Offset: 1}, Position{Generation: 1, Segment: 2})
	require.NoError(t, err)
	require.Zero(t, part.Samples(), "of a part, nothing is remembered")
}

// Nobody waits for a count: it needs no lock while it reads.
func TestCountHoldsNoLock(t *testing.T) {
	dir, by := finishedRun(t)
	s := openStore(t, dir, Options{})
	parts := s.count.parts(Position{Generation: 1, Offset: 1}, Position{Generation: 1, Segment: 1})
	require.Len(t, parts, 1)
	s.op.Lock()
	s.inv.mu.Lock()
	counts, err := s.count.part(parts[0])
	s.inv.mu.Unlock()
	s.op.Unlock()
	require.NoError(t, err)
	require.EqualValues(t, len(by[0]), counts.Samples())
}

// A count in the background ends with the store.
func TestCountAfterClose(t *testing.T) {
	dir, _ := finishedRun(t)
	s := openStore(t, dir, Options{})
	require.NoError(t, s.Close())
	counts, err := s.Count(Position{}, Position{Generation: 2})
	require.ErrorIs(t, err, os.ErrClosed)
	require.Zero(t, counts)
}

func TestTallies(t *testing.T) {
	ts := newTallies()
	var sum Counts
	at := map[int64]Counts{0: {}}
	for n := range uint64(1000) {
		c := Counts{Floats: n % 7, Histograms: n % 3, Exemplars: n * 1000}
		end := int64(n+1) * 300
		ts.add(4, end, c)
		sum = sum.Add(c)
		at[end] = sum
	}
	for begin, before := range at {
		require.Equal(t, sum, before.Add(ts.count(4, begin, 1<<40)))
		require.Equal(t, before, ts.count(4, 0, begin))
	}
	require.Zero(t, ts.count(5, 0, 1<<40))
	require.Equal(t, []int{4}, ts.segments())
	require.Less(t, len(ts.bySegment[4].records), 9000)
	ts.forget(4)
	require.Zero(t, ts.count(4, 0, 1<<40))
}

// When something was scraped is told by the last samples of the first record of a generation,
// and of its last segment, also where that has a damage; not by what else was dated ahead.
func TestScraped(t *testing.T) {
	dir, _ := finishedRun(t) // from 0 to 10,000
	r := openRun(t, dir, runOptions{})
	scraped := func(from Position) []Scraped {
		t.Helper()
		got, err := r.s.Scraped(from, Position{Generation: 3})
		require.NoError(t, err)
		return got
	}
	all := scraped(Position{})
	require.Len(t, all, 1)
	require.EqualValues(t, 10000, all[0].Last)
	require.Less(t, all[0].First, int64(100))
	require.Empty(t, scraped(Position{Generation: 2}))
	at := func(times ...int64) {
		app := r.db.Appender(t.Context())
		for i, ts := range times {
			_, err := app.Append(0, seriesLabels(i), ts, 1)
			require.NoError(t, err)
		}
		require.NoError(t, app.Commit())
		r.s.Notify()
	}
	at(1, 500)
	between := r.s.End()
	at(60_000, 600)
	require.Equal(t, []Scraped{{2, 500, 600}}, scraped(Position{Generation: 2}))
	require.Equal(t, []Scraped{{2, 600, 600}}, scraped(between), "the first of what is read")
	segments, err := os.ReadDir(filepath.Join(dir, "backlog", segmentName(1)))
	require.NoError(t, err)
	// The last one has samples of 10,000 alone, or others before.
	flip(t, filepath.Join(dir, "backlog", segmentName(1), segments[len(segments)-1].Name()), 10)
	last := scraped(Position{})[0].Last
	require.Less(t, last, int64(10000))
	require.Positive(t, last)
}
