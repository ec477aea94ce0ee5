package ledger

import (
	"cmp"
	"slices"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// tally counts samples by generation, ascending.
type tally []count

// count is of the samples of generation last, and of the ones before it that no
// earlier entry covers: of old generations, delivery.json knows the sum only.
//
// It may be negative: what a run that crashed left on disk is read and was never
// counted as appended, and a reader may be faster than the count of a commit.
type count struct {
	last int
	n    int64
}

// of returns the entry of exactly one generation, which it makes if need be.
func (t *tally) of(generation int) *int64 {
	i, found := slices.BinarySearchFunc(*t, generation, compareLast)
	if !found {
		*t = slices.Insert(*t, i, count{last: generation})
	}
	return &(*t)[i].n
}

// covering returns the entry that the samples of a generation are counted in.
func (t *tally) covering(generation int) *int64 {
	i, _ := slices.BinarySearchFunc(*t, generation, compareLast)
	if i == len(*t) {
		*t = append(*t, count{last: generation})
	}
	return &(*t)[i].n
}

func compareLast(c count, generation int) int { return cmp.Compare(c.last, generation) }

func (t tally) sum() (n int64) {
	for _, c := range t {
		n += c.n
	}
	return n
}

// less returns what t has more than before, which it was earlier.
func (t tally) less(before tally) tally {
	t = slices.Clone(t)
	for _, c := range before {
		*t.of(c.last) -= c.n
	}
	return t
}

// below takes the entries out that only cover generations below one.
func (t *tally) below(generation int) tally {
	i, _ := slices.BinarySearchFunc(*t, generation, compareLast)
	out := slices.Clone((*t)[:i])
	*t = slices.Delete(*t, 0, i)
	return out
}

// span is a stretch of the WAL that one entry of a tally covers.
type span struct{ from, to backlog.Position }

// spans cuts a stretch that is not empty where another entry begins.
func (t tally) spans(from, to backlog.Position) []span {
	var out []span
	for _, c := range t {
		next := backlog.Position{Generation: c.last + 1}
		if next.Compare(to) >= 0 {
			break
		}
		if from.Compare(next) < 0 {
			out = append(out, span{from, next})
			from = next
		}
	}
	return append(out, span{from, to})
}
