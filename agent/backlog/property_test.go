package backlog

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mirror is a destination: what it has consumed up to a mark survives a restart,
// the rest is read again.
type mirror struct {
	c    *consumer
	mark Position
	kept []sample
}

func (m *mirror) persist() {
	m.mark = m.c.pos
	m.kept = append(m.kept, m.c.samples...)
	m.c.samples = nil
}

func (m *mirror) reopen(t testing.TB, s *Store) {
	m.c = newConsumer(t, s, m.mark)
}

// Two destinations read at their own pace while segments rotate, upstream
// truncates and deletes series, positions are released, and the process stops or is
// killed. Each must see every sample exactly once, in order, with its labels.
func TestEverySampleOnce(t *testing.T) {
	seeds := uint64(8)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { everySampleOnce(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func everySampleOnce(t *testing.T, rnd *rand.Rand) {
	o := runOptions{
		segment: page * (1 + rnd.IntN(2)),
		snappy:  rnd.IntN(2) == 0,
		classic: rnd.IntN(3) == 0,
	}
	ts := time.Now().UnixMilli()
	if rnd.IntN(2) == 0 {
		ts, o.keep = 1, 20*time.Millisecond // every truncation deletes all series
	}
	dir := t.TempDir()
	r := openRun(t, dir, o)
	mirrors := [2]*mirror{{}, {}}
	for _, m := range mirrors {
		m.reopen(t, r.s)
	}
	window := 0
	for range 400 {
		switch n := rnd.IntN(100); {
		case n < 60:
			ts++
			if rnd.IntN(10) == 0 {
				window += 7
			}
			r.append(window, window+1+rnd.IntN(60), ts)
		case n < 70:
			require.NoError(t, r.s.Sweep())
		case n < 85:
			m := mirrors[rnd.IntN(2)]
			for range rnd.IntN(60) {
				m.c.next()
			}
		case n < 88:
			mirrors[rnd.IntN(2)].c.drain()
		case n < 95:
			for _, m := range mirrors {
				m.persist()
			}
			require.NoError(t, r.s.Release(minPosition(mirrors[0].mark, mirrors[1].mark)))
		case n < 98:
			r.truncate()
		default:
			model := r.model
			if rnd.IntN(2) == 0 {
				dir = r.kill()
			} else {
				r.close()
			}
			r = openRun(t, dir, o)
			r.model = model
			for _, m := range mirrors {
				m.reopen(t, r.s)
			}
		}
	}
	for _, m := range mirrors {
		counts, err := r.s.Count(m.c.pos, r.s.End())
		require.NoError(t, err)
		before := m.c.counts
		m.c.drain()
		require.Equal(t, counts, m.c.counts.Sub(before))
		m.persist()
		m.c.samples = m.kept
		m.c.requireAll(r.model)
		for _, k := range m.c.kinds() {
			require.Equal(t, Generation, k)
		}
	}
	r.close()
}

func minPosition(a, b Position) Position {
	if a.Compare(b) < 0 {
		return a
	}
	return b
}
