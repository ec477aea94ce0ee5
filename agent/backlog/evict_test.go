package backlog

import (
	"io"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func noLinks(string, string) error { return syscall.EPERM }

// A drainer is too slow, and what it was about to read is evicted.
func TestEvictUnderReader(t *testing.T) {
	l := &ledger{}
	r := openRun(t, t.TempDir(), runOptions{Options: Options{MaxBytes: 16 * page, OnEvict: l.onEvict(t)}})
	l.s = r.s
	slow := newConsumer(t, r.s, Position{})
	missing := 0
	for ts := int64(0); r.s.End().Segment < 60; ts++ {
		i := int(ts) / 20 * 7
		r.append(i, i+40, ts)
		require.NoError(t, r.s.Sweep())
		if ts%10 == 0 {
			slow.next()
		}
		if ts%150 == 149 {
			r.truncate()
		}
	}
	slow.drain()
	require.Zero(t, slow.unknown, "the series of what was skipped are known")
	for _, e := range slow.events {
		require.Equal(t, Missing, e.Kind)
		require.ErrorContains(t, e.Err, "missing")
		missing++
	}
	require.NotZero(t, missing)
	last := r.model[len(r.model)-1]
	require.Equal(t, last, slow.samples[len(slow.samples)-1])
	l.requireBalance(t, r.s, r.model)
}

// A finished generation is evicted as a whole, while somebody reads it.
func TestEvictGenerationUnderReader(t *testing.T) {
	dir, by := finishedRun(t)
	l := &ledger{}
	r := openRun(t, dir, runOptions{Options: Options{MaxBytes: 20 * page, OnEvict: l.onEvict(t)}})
	l.s = r.s
	reader := newConsumer(t, r.s, Position{})
	for range 5 {
		require.True(t, reader.next())
	}
	for ts := int64(1e6); exists(filepath.Join(dir, "backlog", segmentName(1))); ts++ {
		r.append(0, 50, ts)
		require.NoError(t, r.s.Sweep())
	}
	reader.drain()
	require.Equal(t, []Kind{Missing, Generation}, reader.kinds())
	require.Equal(t, Position{Generation: 2}, reader.events[0].End)
	require.Zero(t, reader.unknown)
	n := len(by[0]) // an open file stays readable
	require.Equal(t, by[0], reader.samples[:n])
	require.Equal(t, r.model, reader.samples[n:])
	l.requireBalance(t, r.s, append(concat(by...), r.model...))
}

func TestWithoutHardLinks(t *testing.T) {
	dir := t.TempDir()
	l := &ledger{}
	count := func(from, to Position) Counts {
		c, err := l.s.Count(from, to)
		require.NoError(t, err)
		return c
	}
	onEvict := func(to Position) {
		require.Equal(t, count(Position{}, to), count(Position{}, l.mark).Add(count(l.mark, to)))
		l.onEvict(t)(to)
	}
	o := runOptions{Options: Options{link: noLinks, OnEvict: onEvict}}
	r := openRun(t, dir, o)
	l.s = r.s
	require.False(t, r.s.inv.hardLinks)
	slow := newConsumer(t, r.s, Position{})
	for ts := int64(0); r.s.End().Segment < 6; ts++ {
		r.append(int(ts)%7*20, int(ts)%7*20+40, ts)
	}
	for range 3 {
		require.True(t, slow.next())
	}
	n := len(slow.samples)
	l.mark = slow.pos
	require.NoError(t, r.s.Sweep())
	require.Zero(t, l.calls)

	// What a truncation deletes is lost, and counted.
	r.truncate()
	for slow.next() { // up to the end of the open file, or what the sweep must clear up
	}
	require.NoError(t, r.s.Sweep())
	require.Equal(t, 1, l.calls)
	require.Equal(t, Position{Generation: 1, Segment: r.firstInWAL()}, l.mark)
	require.NotZero(t, l.evicted.Samples())
	slow.drain()
	require.Equal(t, []Kind{Missing}, slow.kinds())
	require.Zero(t, slow.unknown)
	rest := newConsumer(t, r.s, l.mark).drain()
	rest.requireAll(r.model[len(r.model)-len(rest.samples):])
	require.EqualValues(t, len(r.model), uint64(n)+l.evicted.Samples()+rest.counts.Samples())

	// Nothing is lost that was delivered.
	require.NoError(t, r.s.Release(r.s.End()))
	l.mark = r.s.End()
	l.evicted = Counts{}
	for ts := int64(1e6); r.s.End().Segment < 20; ts++ {
		r.append(int(ts)%7*20, int(ts)%7*20+40, ts)
		require.NoError(t, r.s.Release(r.s.End()))
		l.mark = r.s.End()
		if ts%100 == 99 {
			r.truncate()
			require.NoError(t, r.s.Sweep())
		}
	}
	require.Zero(t, l.evicted)
	require.Equal(t, 1, l.calls)

	// A restart keeps what is there.
	model := r.model
	c := newConsumer(t, r.s, r.s.Oldest()).drain()
	dir = r.kill()
	s := openStore(t, dir, o.Options)
	again := newConsumer(t, s, Position{}).drain()
	require.Equal(t, []Kind{Generation}, again.kinds())
	require.GreaterOrEqual(t, len(again.samples), len(c.samples))
	again.requireAll(model[len(model)-len(again.samples):])
	require.Equal(t, s.Usage().TotalBytes, inodeBytes(dir))
}

// The disk has no room for rescued series: nothing is unlinked, and the attempt is
// repeated.
func TestRescueFails(t *testing.T) {
	dir, by := finishedRun(t)
	s := openStore(t, dir, Options{})
	blocker := filepath.Join(dir, "backlog", segmentName(1), "series")
	require.NoError(t, WriteFileAtomic(blocker, nil))
	to := Position{Generation: 1, Segment: 3}
	require.ErrorIs(t, s.Release(to), syscall.ENOTDIR)
	require.ErrorIs(t, s.Sweep(), syscall.ENOTDIR)
	c := newConsumer(t, s, Position{Generation: 1}).drain()
	c.requireAll(concat(by...))

	require.NoError(t, removeFile(blocker))
	require.NoError(t, s.Sweep())
	require.False(t, exists(segmentFile(dir, 1, 2)))
	c = newConsumer(t, s, to).drain()
	c.requireAll(concat(by[3:]...))
}

// A failing disk is asked again, and then taken for damaged.
func TestReadFailures(t *testing.T) {
	r := openRun(t, t.TempDir(), runOptions{segment: 4 * page})
	for ts := int64(0); r.s.End().Segment < 2; ts++ {
		r.append(0, 40, ts)
	}
	for _, failures := range []int{readAttempts - 1, readAttempts} {
		c := newConsumer(t, r.s, Position{Generation: 1, Segment: 1})
		for c.pos.Segment < 1 || len(c.samples) == 0 {
			require.True(t, c.next())
		}
		for n := range failures {
			if c.r.cur == nil {
				require.NoError(t, c.r.openNext())
			}
			require.NoError(t, c.r.cur.f.Close()) // all reads fail from here on
			for len(c.events) == 0 {
				rec, err := c.r.Next() // what has been buffered
				if err == nil && rec.Kind == Data && !rec.Context {
					c.data(rec)
					c.pos = rec.End
					continue
				}
				if n < readAttempts-1 {
					require.ErrorContains(t, err, "cannot read the backlog")
					require.NotErrorIs(t, err, io.EOF)
					break
				}
				require.NoError(t, err)
				require.Equal(t, Damaged, rec.Kind)
				c.events, c.pos = append(c.events, *rec), rec.End
			}
			require.Equal(t, c.pos, c.r.Position())
		}
		c.drain()
		if failures < readAttempts {
			require.Empty(t, c.events)
			c.requireAll(r.model[len(r.model)-len(c.samples):])
		}
		require.Equal(t, r.model[len(r.model)-1], c.samples[len(c.samples)-1])
	}
}
