package ledger

import (
	"slices"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// Settle moves the mark to end, and the samples of o from memory, the oldest
// first, to the terms. What of o is not in memory comes from what is unread: a
// record need not be held to be settled, but one that is not may be counted as
// evicted as well.
func (a *Account) Settle(end backlog.Position, o Outcome) {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	if missing := a.held.settle(o.Total()); missing > 0 {
		*a.unread.covering(end.Generation) -= int64(missing)
	}
	a.terms.enter(o)
	a.mark = later(a.mark, end)
	a.passEvicted()
}

// passEvicted moves the mark over what is evicted, unless samples from there are
// held: they may still be delivered.
func (a *Account) passEvicted() {
	if a.held.before(a.evicted) == 0 {
		to := a.evicted
		for _, from := range a.claims {
			if from.Compare(to) < 0 {
				to = from
			}
		}
		a.mark = later(a.mark, to)
	}
	a.read = later(a.read, a.mark)
}

// MaySent says that everything before to may have been sent from now on. It is
// called before a request is made: after a crash, "out of order" means already
// there before Saved.Sent, and a loss behind it.
func (a *Account) MaySent(to backlog.Position) {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	a.sent = later(a.sent, to)
}

// Sent returns how far samples may have been sent without an answer, by this run
// or the one before.
func (a *Account) Sent() backlog.Position {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	return a.sent
}

// MaySendUnordered says that some of what lies before to may have been sent from now on
// while what lies before it in the WAL was not. It is called before a request is made, and
// reports whether delivery.json says so already: else that is to be written first, or
// after a crash what an endpoint has would be taken for the first of what it was sent.
func (a *Account) MaySendUnordered(to backlog.Position) (told bool) {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	a.unordered, a.used = later(a.unordered, to), true
	return a.told
}

// Unordered returns the position before which the order is not known in which samples
// may have been sent, by this run or the one before.
func (a *Account) Unordered() backlog.Position {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	return a.unordered
}

// Asked says of which series samples were sent by themselves, before others that come
// before them in the WAL, to find out what an endpoint has.
type Asked struct {
	Before backlog.Position `json:"before"` // zero: none were
	Series []uint64         `json:"series"` // labels.StableHash of their labels, as they are sent; ascending
}

// Has reports whether a series is among them.
func (a Asked) Has(series uint64) bool {
	_, has := slices.BinarySearch(a.Series, series)
	return has
}

func (a Asked) clone() Asked {
	a.Series = slices.Clone(a.Series)
	return a
}

// mostAsked is how many series are kept: the questions of some runs that did not end well.
const mostAsked = 64

// MayAsk is MaySendUnordered where all that may be sent so from now on is samples of one
// series. Where there are too many, it is the same.
func (a *Account) MayAsk(series uint64, to backlog.Position) (told bool) {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	if a.askedIsSettled() {
		a.asked.Series = nil
	}
	at, has := slices.BinarySearch(a.asked.Series, series)
	if !has && len(a.asked.Series) == mostAsked {
		a.unordered, a.used = later(a.unordered, to), true
		return a.told
	}
	if !has {
		a.asked.Series = slices.Insert(a.asked.Series, at, series)
	}
	a.asked.Before, a.usedAsked = later(a.asked.Before, to), true
	return slices.Contains(a.toldAsked, series)
}

// askedIsSettled reports whether what is kept is of batches that are settled, and much. It
// stays as long as it is little, so that the file need not be written for each question.
func (a *Account) askedIsSettled() bool {
	return a.asked.Before.Compare(a.mark) <= 0 && len(a.asked.Series) > mostAsked/2
}

// RoomToAsk returns for how many more series MayAsk is not the same as MaySendUnordered.
func (a *Account) RoomToAsk() int {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	if a.askedIsSettled() {
		return mostAsked
	}
	return mostAsked - len(a.asked.Series)
}

// Asked returns the series of which samples may have been sent by themselves, by this run
// or the one before.
func (a *Account) Asked() Asked {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	return a.asked.clone()
}

// Late says which samples were sent beside the others: a time tells them.
type Late struct {
	UpTo   int64            `json:"upTo"`   // the time of the newest, in milliseconds
	Before backlog.Position `json:"before"` // zero: none were
	// Unordered: they are in no order among themselves either.
	Unordered bool `json:"unordered,omitempty"`
}

// says reports whether l says of what lies before it what other does, or less.
func (l Late) says(other Late) bool {
	if l.Before.IsZero() || other.Unordered && !l.Unordered {
		return false
	}
	// Of those that are late up to a greater time, some are among the others.
	return l.UpTo == other.UpTo || l.Unordered && l.UpTo > other.UpTo
}

// MaySendLate says that samples that lie before to and are dated up to a time, in
// milliseconds, may have been sent from now on while others before them in the WAL were
// not; unordered: neither were all of those before them that are dated so. It is called
// before a request is made, and reports whether delivery.json says so already: else that
// is to be written first. What is dated later keeps its order.
func (a *Account) MaySendLate(upTo int64, to backlog.Position, unordered bool) (told bool) {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	may := Late{UpTo: upTo, Before: later(a.late.Before, to), Unordered: unordered}
	if was := a.late; was.Before.Compare(a.mark) > 0 {
		may.UpTo = max(was.UpTo, upTo)
		may.Unordered = was.Unordered || unordered || was.UpTo != upTo
	}
	a.late = may
	return a.toldLate.says(may)
}

// Late returns which samples may have been sent beside the others, by this run or the one
// before.
func (a *Account) Late() Late {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	return a.late
}

// WasRefused says that samples before to were refused for good by an endpoint that goes on
// with what comes behind them. It is called before that is sent, and reports whether
// delivery.json says so already: else that is to be written first, or after a crash they
// would be taken for samples that are there already.
func (a *Account) WasRefused(to backlog.Position) (told bool) {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	a.refused, a.usedRefused = later(a.refused, to), true
	if a.refused.Compare(a.toldRefused) <= 0 {
		return true
	}
	a.often = !a.toldRefused.IsZero()
	return false
}

// Refused returns the position before which samples that are not settled may have been
// refused for good, by this run or the one before.
func (a *Account) Refused() backlog.Position {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	return a.refused
}

// Mark returns the position before which everything is settled.
func (a *Account) Mark() backlog.Position {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	return a.mark
}

// Read returns the position before which everything was read or evicted.
func (a *Account) Read() backlog.Position {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	return a.read
}

// Evicted returns how far eviction has gone, zero if it has not. Segments missing
// before it are in the ledger.
func (a *Account) Evicted() backlog.Position {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	return a.evicted
}
