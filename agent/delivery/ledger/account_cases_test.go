package ledger

import (
	"errors"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// accountCase is a sequence of calls, and what the terms are after them.
type accountCase struct {
	open  func() (*Book, *Account)
	calls func(t *testing.T, b *Book, a *Account)
	want  Terms
	mark  backlog.Position
	// saved, where a crash at the end would show something else
	saved     *Terms
	savedMark backlog.Position
}

var accountCases = map[string]accountCase{
	"appended": {
		calls: func(_ *testing.T, b *Book, _ *Account) { b.Append(10, running); b.NotAppended(3) },
		want:  Terms{Appended: 10, OnDisk: 10, NotAppended: 3},
		mark:  pos(5, 1, 0),
	},
	"held": {
		calls: func(t *testing.T, b *Book, a *Account) {
			b.Append(10, running)
			hold(t, a, pos(5, 1, 0), pos(5, 1, 100), 4)
		},
		want: Terms{Appended: 10, OnDisk: 10},
		mark: pos(5, 1, 0),
	},
	"settled": {
		calls: func(t *testing.T, b *Book, a *Account) {
			b.Append(10, running)
			hold(t, a, pos(5, 1, 0), pos(5, 1, 100), 10)
			o := Outcome{Delivered: 3, DamagedBytes: 7, LostStretches: 1}
			o.Refuse("http_400", 2)
			o.Doubt("no_answer", 1)
			o.Filter("relabelled", 2)
			a.Settle(pos(5, 1, 100), o)
			o.Refuse("http_400", 100) // the account has a copy
		},
		want: Terms{
			Appended: 10, Delivered: 3, OnDisk: 2, DamagedBytes: 7, LostStretches: 1, Refused: map[string]uint64{"http_400": 2},
			Uncertain: map[string]uint64{"no_answer": 1}, Filtered: map[string]uint64{"relabelled": 2},
		},
		mark: pos(5, 1, 100),
	},
	"settled without having been held": {
		calls: func(_ *testing.T, b *Book, a *Account) {
			b.Append(10, running)
			a.Settle(pos(5, 1, 100), Outcome{Delivered: 6})
		},
		want: Terms{Appended: 10, Delivered: 6, OnDisk: 4},
		mark: pos(5, 1, 100),
	},
	"the mark does not go back": {
		calls: func(_ *testing.T, _ *Book, a *Account) {
			a.Settle(pos(5, 2, 100), Outcome{})
			a.Settle(pos(5, 2, 50), Outcome{})
		},
		mark: pos(5, 2, 100),
	},
	"read and delivered before it is counted as appended": {
		calls: func(t *testing.T, _ *Book, a *Account) {
			hold(t, a, pos(5, 1, 0), pos(5, 1, 100), 10)
			a.Settle(pos(5, 1, 50), Outcome{Delivered: 4})
		},
		want: Terms{Appended: 10, Delivered: 4, OnDisk: 6},
		mark: pos(5, 1, 50),
	},
	"counted as appended after it was delivered": {
		calls: func(t *testing.T, b *Book, a *Account) {
			hold(t, a, pos(5, 1, 0), pos(5, 1, 100), 10)
			a.Settle(pos(5, 1, 100), Outcome{Delivered: 10})
			b.Append(10, running)
		},
		want: Terms{Appended: 10, Delivered: 10},
		mark: pos(5, 1, 100),
	},
	"evicted unread": {
		calls: func(t *testing.T, b *Book, a *Account) {
			b.Append(10, running)
			evict(t, a, pos(5, 3, 0), 7)
		},
		want: Terms{Appended: 10, Evicted: 7, OnDisk: 3},
		mark: pos(5, 3, 0),
	},
	"evicted twice": {
		calls: func(t *testing.T, b *Book, a *Account) {
			b.Append(10, running)
			evict(t, a, pos(5, 3, 0), 7)
			for _, to := range []backlog.Position{pos(5, 3, 0), pos(5, 2, 0)} {
				n, err := a.Evict(to, func(backlog.Position, backlog.Position) (uint64, error) {
					t.Error("counted again")
					return 7, nil
				})
				if n != 0 || err != nil || a.Evicted() != pos(5, 3, 0) {
					t.Errorf("evicted %d up to %s, %v", n, a.Evicted(), err)
				}
			}
		},
		want: Terms{Appended: 10, Evicted: 7, OnDisk: 3},
		mark: pos(5, 3, 0),
	},
	"evicted while it is being read": {
		calls: func(t *testing.T, b *Book, a *Account) {
			b.Append(10, running)
			evict(t, a, pos(5, 2, 0), 7)
			if a.Hold(pos(5, 1, 0), pos(5, 1, 100), 7, 1) {
				t.Error("held after it was evicted")
			}
			// The record before it ended in the segment that is gone.
			hold(t, a, pos(5, 1, 100), pos(5, 2, 50), 3)
			a.Settle(pos(5, 2, 50), Outcome{Delivered: 3})
		},
		want: Terms{Appended: 10, Evicted: 7, Delivered: 3},
		mark: pos(5, 2, 50),
	},
	"evicted while it is held": {
		calls: func(t *testing.T, b *Book, a *Account) {
			b.Append(10, running)
			hold(t, a, pos(5, 1, 0), pos(5, 1, 100), 6)
			evict(t, a, pos(5, 2, 0), 0)
		},
		want:      Terms{Appended: 10, OnDisk: 10},
		mark:      pos(5, 1, 0),
		saved:     &Terms{Appended: 10, Evicted: 6, OnDisk: 4},
		savedMark: pos(5, 2, 0),
	},
	"evicted while it is held, and delivered": {
		calls: func(t *testing.T, b *Book, a *Account) {
			b.Append(10, running)
			hold(t, a, pos(5, 1, 0), pos(5, 1, 100), 6)
			evict(t, a, pos(5, 2, 0), 0)
			a.Settle(pos(5, 1, 100), Outcome{Delivered: 6})
		},
		want: Terms{Appended: 10, Delivered: 6, OnDisk: 4},
		mark: pos(5, 2, 0),
	},
	"evicted while some before it is held": {
		calls: func(t *testing.T, b *Book, a *Account) {
			b.Append(20, running)
			hold(t, a, pos(5, 1, 0), pos(5, 1, 100), 6)
			evict(t, a, pos(5, 3, 0), 9)
			hold(t, a, pos(5, 3, 0), pos(5, 3, 100), 5)
			a.Settle(pos(5, 1, 100), Outcome{Delivered: 2})
		},
		want:      Terms{Appended: 20, Delivered: 2, Evicted: 9, OnDisk: 9},
		mark:      pos(5, 1, 100),
		saved:     &Terms{Appended: 20, Delivered: 2, Evicted: 13, OnDisk: 5},
		savedMark: pos(5, 3, 0),
	},
	"what cannot be counted stays unread": {
		calls: func(t *testing.T, b *Book, a *Account) {
			b.Append(10, running)
			broken := errors.New("broken disk")
			n, err := a.Evict(pos(5, 2, 0), func(backlog.Position, backlog.Position) (uint64, error) { return 4, broken })
			if n != 4 || !errors.Is(err, broken) {
				t.Errorf("evicted %d, %v", n, err)
			}
		},
		want: Terms{Appended: 10, Evicted: 4, OnDisk: 6},
		mark: pos(5, 2, 0),
	},
	"forgotten after a hand-over that failed": {
		calls: func(t *testing.T, b *Book, a *Account) {
			b.Append(10, running)
			for range 3 { // again and again
				hold(t, a, pos(5, 1, 0), pos(5, 1, 100), 6)
				a.Forget()
				a.Forget()
			}
			hold(t, a, pos(5, 1, 0), pos(5, 1, 100), 6)
			a.Settle(pos(5, 1, 100), Outcome{Delivered: 6})
		},
		want: Terms{Appended: 10, Delivered: 6, OnDisk: 4},
		mark: pos(5, 1, 100),
	},
	"forgotten when it had been evicted": {
		calls: func(t *testing.T, b *Book, a *Account) {
			b.Append(10, running)
			hold(t, a, pos(5, 1, 0), pos(5, 1, 100), 6)
			hold(t, a, pos(5, 1, 100), pos(5, 2, 100), 4)
			evict(t, a, pos(5, 2, 0), 0)
			a.Forget()
			a.Forget()
		},
		want: Terms{Appended: 10, Evicted: 6, OnDisk: 4},
		mark: pos(5, 2, 0),
	},
	"a power cut took samples": {
		open: func() (*Book, *Account) { return old(10, false) },
		calls: func(t *testing.T, b *Book, a *Account) {
			b.Append(5, running)
			hold(t, a, pos(4, 1, 0), pos(4, 1, 100), 8)
			a.Settle(pos(4, 1, 100), Outcome{Delivered: 8})
			a.Crossed(3)
			a.Crossed(4) // more may come of generation 4
			if lost := a.Terms().Lost; lost != 0 {
				t.Errorf("lost %d before everything old has been read", lost)
			}
			a.Crossed(running)
			a.Crossed(running)
		},
		want: Terms{Appended: 15, Delivered: 8, Lost: 2, OnDisk: 5},
		mark: pos(4, 1, 100),
	},
	"a failed commit was found on disk": {
		open: func() (*Book, *Account) { return old(10, false) },
		calls: func(t *testing.T, _ *Book, a *Account) {
			hold(t, a, pos(2, 1, 0), pos(2, 1, 100), 13)
			a.Settle(pos(2, 1, 100), Outcome{Delivered: 13})
			a.Crossed(running)
		},
		want: Terms{Appended: 13, Delivered: 13},
		mark: pos(2, 1, 100),
	},
	"recovered before all was read": {
		open: func() (*Book, *Account) { return old(10, true) },
		calls: func(t *testing.T, b *Book, a *Account) {
			hold(t, a, pos(2, 1, 0), pos(2, 1, 100), 13)
			a.Settle(pos(2, 1, 100), Outcome{Delivered: 13})
			b.Recovered(5)
			a.Crossed(running)
		},
		want: Terms{Appended: 15, Delivered: 13, Lost: 2},
		mark: pos(2, 1, 100),
	},
	"recovered after all was read": {
		open: func() (*Book, *Account) { return old(10, true) },
		calls: func(t *testing.T, b *Book, a *Account) {
			hold(t, a, pos(2, 1, 0), pos(2, 1, 100), 13)
			a.Settle(pos(2, 1, 100), Outcome{Delivered: 13})
			if !a.Counting() {
				t.Error("not counting")
			}
			a.Crossed(running)
			b.Recovered(5)
		},
		want: Terms{Appended: 13, Delivered: 13},
		mark: pos(2, 1, 100),
	},
	"crossed while an eviction is being counted": {
		open: func() (*Book, *Account) { return old(10, false) },
		calls: func(t *testing.T, b *Book, a *Account) {
			b.Append(5, running)
			_, err := a.Evict(pos(running, 0, 0), func(backlog.Position, backlog.Position) (uint64, error) {
				a.Crossed(running)
				a.Crossed(running - 1)
				if got := a.Drained(pos(2, 1, 0)); got != 0 {
					t.Errorf("drained while an eviction goes on: %d", got)
				}
				if got := a.Terms(); got.Lost != 0 || got.OnDisk != 15 {
					t.Errorf("%+v", got)
				}
				return 8, nil
			})
			if err != nil {
				t.Error(err)
			}
		},
		want: Terms{Appended: 15, Evicted: 8, Lost: 2, OnDisk: 5},
		mark: pos(running, 0, 0),
	},
	"drained": {
		open: func() (*Book, *Account) { return old(10, true) },
		calls: func(t *testing.T, b *Book, a *Account) {
			b.Append(5, running)
			hold(t, a, pos(2, 1, 0), pos(2, 1, 100), 8)
			drained(t, a, pos(2, 1, 0), 0) // something is held
			a.Settle(pos(2, 1, 100), Outcome{Delivered: 8})
			drained(t, a, pos(5, 1, 100), 0) // the mark is not there
			hold(t, a, pos(5, 1, 0), pos(5, 1, 100), 6)
			a.Settle(pos(5, 1, 100), Outcome{Delivered: 6})
			drained(t, a, pos(5, 1, 100), 1)
			drained(t, a, pos(5, 1, 100), 0)
			b.Recovered(2)
		},
		want: Terms{Appended: 16, Delivered: 14, Lost: 2},
		mark: pos(5, 1, 100),
	},
}
