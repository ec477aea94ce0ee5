package backlog

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// modelSteps names how many steps TestEverySampleOnce makes.
const modelSteps = "OPSTRACE_AGENT_MODEL_STEPS"

// mirror is a destination: what it has consumed up to a mark survives a restart, the
// rest is read again. The model of the store is the list of what was committed, and for
// each position of a destination how many of these are before it.
type mirror struct {
	c       *consumer
	before  int // the position of c
	mark    Position
	settled int      // before the mark
	evicted Position // what is before it is none of the destination's any more
}

// read consumes a record and compares it with the model.
func (m *mirror) read(model []sample) bool {
	more := m.c.next()
	if m.c.pos.Compare(m.evicted) > 0 {
		for _, s := range m.c.samples {
			require.Less(m.c.t, m.before, len(model), "%v was never committed", s)
			if s != model[m.before] { // many millions
				require.Equal(m.c.t, model[m.before], s, "sample %d", m.before)
			}
			m.before++
		}
	}
	m.c.samples = m.c.samples[:0]
	return more
}

func (m *mirror) drain(model []sample) {
	for m.read(model) {
	}
}

func (m *mirror) persist() { m.mark, m.settled = m.c.pos, m.before }

func (m *mirror) reopen(t testing.TB, s *Store) {
	m.c, m.before = newConsumer(t, s, m.mark), m.settled
}

// evict is what OnEvict asks of a destination. It returns how many samples it loses.
func (m *mirror) evict(t testing.TB, s *Store, to Position) int {
	count := func(from Position) int {
		if from.Compare(to) >= 0 {
			return 0
		}
		n, err := s.Count(from, to)
		require.NoError(t, err)
		return int(n.Samples())
	}
	m.before += count(maxPosition(m.c.pos, m.evicted))
	lost := count(m.mark)
	m.settled += lost
	m.mark, m.evicted = maxPosition(m.mark, to), maxPosition(m.evicted, to)
	return lost
}

// Two destinations read at their own pace while segments rotate, upstream truncates
// and deletes series, positions are released, what exceeds the budget is evicted, and
// the process stops or is killed. Each must see every sample exactly once, in order,
// with its labels, or have it counted as evicted.
func TestEverySampleOnce(t *testing.T) {
	const each = 400
	seeds := 8
	if testing.Short() {
		seeds = 3
	}
	if s := os.Getenv(modelSteps); s != "" {
		steps, err := strconv.Atoi(s)
		require.NoError(t, err)
		seeds = (steps + each - 1) / each
	}
	evicted := 0
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			evicted += everySampleOnce(t, rand.New(rand.NewPCG(uint64(seed), 0)), each)
		})
	}
	require.Positive(t, evicted, "nothing was evicted in any of them")
}

func everySampleOnce(t *testing.T, rnd *rand.Rand, steps int) (evicted int) {
	o := runOptions{
		segment: page * (1 + rnd.IntN(2)),
		snappy:  rnd.IntN(2) == 0,
		classic: rnd.IntN(3) == 0,
	}
	ts := time.Now().UnixMilli()
	if rnd.IntN(2) == 0 {
		ts, o.keep = 1, 20*time.Millisecond // every truncation deletes all series
	}
	mirrors := [2]*mirror{{}, {}}
	var r *run
	if rnd.IntN(2) == 0 {
		o.MaxBytes = int64(o.segment) * int64(4+rnd.IntN(8))
	}
	o.OnEvict = func(to Position) {
		for _, m := range mirrors {
			evicted += m.evict(t, r.s, to)
		}
	}
	dir := t.TempDir()
	r = openRun(t, dir, o)
	for _, m := range mirrors {
		m.reopen(t, r.s)
	}
	window := 0
	for range steps {
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
				m.read(r.model)
			}
		case n < 88:
			mirrors[rnd.IntN(2)].drain(r.model)
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
		whole := m.c.pos.Compare(m.evicted) >= 0 // else it may read what is unlinked, and not counted
		m.drain(r.model)
		if whole {
			require.Equal(t, counts, m.c.counts.Sub(before))
		}
		require.Equal(t, len(r.model), m.before)
		require.Zero(t, m.c.unknown, "samples of unknown series")
		for _, k := range m.c.kinds() {
			if k != Generation && (k != Missing || evicted == 0) {
				t.Error(k)
			}
		}
	}
	r.close()
	return evicted
}

func minPosition(a, b Position) Position {
	if a.Compare(b) < 0 {
		return a
	}
	return b
}
