package ledger

import (
	"math"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// Crossed says that everything of the generations below one has been read and
// settled. What remains there was appended and is not on disk: it is lost. When
// more was found on disk than had been counted (a crash, a count that was
// not finished), that was appended as well.
func (a *Account) Crossed(generation int) {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	a.crossed = max(a.crossed, generation)
	a.settleGone()
}

// Drained is Crossed for the running generation too, at a moment when no commit
// is going on, and the account's reader has come to at, the end of all there is.
// It returns by how much what was appended exceeds what was found, which is
// negative when more was found. It does nothing and returns 0 unless all is at
// rest: nothing held, no eviction going on, and the mark at at or behind it. A
// caller that knows of nothing but series before at calls Settle(at, Outcome{})
// first.
func (a *Account) Drained(at backlog.Position) (residue int64) {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	if a.held.samples > 0 || len(a.claims) > 0 || a.mark.Compare(at) < 0 {
		return 0
	}
	return a.settleBelow(math.MaxInt)
}

// settleBelow empties what is unread of the generations below one.
func (a *Account) settleBelow(generation int) (residue int64) {
	for _, c := range a.unread.below(generation) {
		residue += c.n
		if c.n > 0 {
			a.terms.Lost += uint64(c.n)
		} else {
			a.terms.Appended += uint64(-c.n)
		}
	}
	if generation >= a.book.generation {
		a.counting = false
	}
	return residue
}

// recover adds what an earlier run appended without anybody's count.
// Recovered is Book.Recovered for one account, of which more has to be counted
// than of the others (Saved.Counting). It is called before that.
func (a *Account) Recovered(n uint64) {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	a.recover(n)
}

func (a *Account) recover(n uint64) {
	if !a.counting {
		return
	}
	a.counting = false
	a.terms.Appended += n
	*a.unread.of(a.book.generation - 1) += int64(n)
}

// settleGone does what has to wait until all evictions are counted.
func (a *Account) settleGone() {
	if len(a.claims) == 0 {
		a.gone = a.evicted
		a.settleBelow(a.crossed)
	}
	a.passEvicted()
}
