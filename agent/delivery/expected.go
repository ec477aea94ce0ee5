package delivery

import (
	"time"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

const (
	// entryItems and entryAge bound what is written down as one entry: marks
	// are as fine as entries are.
	entryItems = 500
	entryAge   = 100 * time.Millisecond
)

// entry is a stretch of the WAL that the queue has been given.
type entry struct {
	left    int            // items that the queue has not been answered for
	begun   bool           // it has been answered for some
	again   int            // of all items, those that were delivered before
	unsure  int            // of all items, those that the queue perhaps never sends
	doubt   map[string]int // items that were given up, by reason
	end     backlog.Position
	outcome ledger.Outcome // as if nothing was given up
	at      time.Time
}

// expected is the sequence of items that a queue sends, first in, first out.
type expected struct {
	entries     []entry
	outstanding int // items left in entries
	// unsure is how many items so far the queue perhaps never sends: by as many it may
	// be further than what has been answered.
	unsure int
}

// begin enters the items that the queue sends again; all up to from is settled.
func (x *expected) begin(again overlap, from backlog.Position) {
	x.add(entry{left: again.items, again: again.items, unsure: again.unsure, end: from, at: time.Now()})
}

// add enters the items of what comes next in the WAL.
func (x *expected) add(e entry) {
	x.outstanding += e.left
	x.unsure += e.unsure
	if last := len(x.entries) - 1; last >= 0 && x.entries[last].takes(e) {
		x.entries[last].left += e.left
		x.entries[last].again += e.again
		x.entries[last].end = e.end
		x.entries[last].outcome.Merge(e.outcome)
		return
	}
	x.entries = append(x.entries, e)
}

func (e *entry) takes(next entry) bool {
	return e.left+next.left <= entryItems && next.at.Sub(e.at) < entryAge && e.doubt == nil && (e.again == 0) == (next.again == 0)
}

// covers reports whether the next n items of the queue have all been entered. whole:
// all that the queue may have read has been. Else those do not count that it perhaps
// never sends: it may have sent what comes behind them instead.
func (x *expected) covers(n int, whole bool) bool {
	return x.outstanding >= n && (whole || x.outstanding-x.unsure >= n)
}

// answered takes n items off the front; givenUp names the reason if they were
// not acknowledged.
func (x *expected) answered(n int, givenUp string) {
	for i := 0; n > 0 && i < len(x.entries); i++ {
		e := &x.entries[i]
		m := min(n, e.left)
		e.left -= m
		e.begun = e.begun || m > 0
		n -= m
		x.outstanding -= m
		if givenUp != "" && m > 0 {
			if e.doubt == nil {
				e.doubt = map[string]int{}
			}
			e.doubt[givenUp] += m
		}
	}
}

// againIn returns how many of the next n items were delivered before, at the most,
// and whether all were, for sure.
func (x *expected) againIn(n int) (again int, only bool) {
	only = true
	for i := 0; n > 0 && i < len(x.entries); i++ {
		e := &x.entries[i]
		again += min(e.again, e.left, n)
		only = only && (e.left == 0 || e.again >= e.left)
		n -= e.left
	}
	return again, only && n <= 0
}

// since returns when the first item was entered that is left; otherwise, if there is none.
func (x *expected) since(otherwise time.Time) time.Time {
	for _, e := range x.entries {
		if e.left > 0 {
			return e.at
		}
	}
	return otherwise
}

// reach returns the end of the entries that the next n items are of, at the most; of
// one that has been answered for in part, if n is 0.
func (x *expected) reach(n int) (end backlog.Position) {
	n += x.unsure
	for i := range x.entries {
		e := &x.entries[i]
		if n <= 0 && !e.begun {
			break
		}
		end = e.end
		n -= e.left
	}
	return end
}

// done removes the entries at the front that are answered in full, and returns
// them with what was given up in their outcomes.
func (x *expected) done() []entry {
	n := 0
	for n < len(x.entries) && x.entries[n].left == 0 {
		n++
	}
	if n == 0 {
		return nil
	}
	out := append([]entry(nil), x.entries[:n]...)
	x.entries = append(x.entries[:0], x.entries[n:]...)
	for i := range out {
		o := &out[i].outcome
		for reason, items := range out[i].doubt {
			// Exemplars are items, but not samples: never doubt more than there are.
			m := min(uint64(items), o.Delivered)
			o.Delivered -= m
			o.Doubt(reason, m)
		}
	}
	return out
}

func (x *expected) empty() bool { return len(x.entries) == 0 }

// age is how long the oldest entry has waited.
func (x *expected) age() time.Duration {
	if len(x.entries) == 0 {
		return 0
	}
	return time.Since(x.entries[0].at)
}
