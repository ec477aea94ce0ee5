package ledger

import (
	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// Account is what one destination has had of the WAL: the mark, and the terms.
type Account struct {
	book *Book // whose lock guards all below
	url  string

	mark, read, sent backlog.Position
	// unordered: see Saved. told: delivery.json says so too. used: it was said since Saved.
	unordered  backlog.Position
	told, used bool
	// asked: see Saved. toldAsked is what delivery.json has of it for sure. usedAsked: it was
	// said since Saved.
	asked     Asked
	toldAsked []uint64
	usedAsked bool
	// late: see Saved. toldLate is what delivery.json has of it for sure.
	late, toldLate Late
	storesPartial  string // see Saved
	// refused: see Saved. toldRefused is what delivery.json has of it for sure. usedRefused: it
	// was said since Saved. often: again while delivery.json had it.
	refused, toldRefused backlog.Position
	usedRefused, often   bool
	// evicted is how far eviction has gone: nothing before it will be read any
	// more. gone is the same without the evictions that are being counted, whose
	// files are there still. claims are where these began.
	evicted, gone backlog.Position
	claims        []backlog.Position
	// crossed is the greatest generation that Crossed was called for. It is settled
	// when no eviction is being counted.
	crossed  int
	counting bool

	// terms but for OnDisk. Appended equals the sum of the terms, of unread, and
	// of held.
	terms  Terms
	unread tally
	held   held
}

// Hold counts the n samples of a record as taken into memory. from and end are
// the record's bounds, at is when it was scraped, in milliseconds, above 0.
// It returns false when the record has been evicted while it was being read: it
// is in the ledger already, and must be skipped.
//
// Records come in the order of the WAL, each once, but for what Forget gave back.
func (a *Account) Hold(from, end backlog.Position, n uint64, at int64) bool {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	// from may be where the record before ended, in a segment that is gone.
	if later(from, beginOfSegment(end)).Compare(a.evicted) < 0 {
		return false
	}
	*a.unread.covering(end.Generation) -= int64(n)
	a.held.add(end, n, at)
	a.read = later(a.read, end)
	return true
}

// Forget gives up what is held: it goes back to disk and is to be read again,
// from Mark on, but for what has been evicted since; that is evicted for good.
// What is forgotten must not be settled afterwards.
func (a *Account) Forget() {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	a.forget()
}

func (a *Account) forget() {
	for _, s := range a.held.stretches {
		if s.segment.Compare(a.evicted) < 0 {
			a.terms.Evicted += s.samples
		} else {
			*a.unread.covering(s.segment.Generation) += int64(s.samples)
		}
	}
	a.held = held{}
	a.passEvicted()
	a.read = a.mark
}

// StoresPartial returns the version of remote write of which the endpoint is known to store
// the good samples of a request that it refuses; empty: of none.
func (a *Account) StoresPartial() string {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	return a.storesPartial
}

// SetStoresPartial notes what StoresPartial returns.
func (a *Account) SetStoresPartial(version string) {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	a.storesPartial = version
}

// URL of the destination, without secrets.
func (a *Account) URL() string { return a.url }

// Terms returns what became of all samples.
func (a *Account) Terms() Terms {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	return a.now()
}

// OldestHeld returns when the oldest that is held and not settled was scraped, in
// milliseconds; 0 when nothing is held. Of a stretch of up to 1,000 samples it
// is the oldest until all of them are settled.
func (a *Account) OldestHeld() int64 {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	return a.held.oldest()
}

// Counting reports whether what an earlier run appended is still being counted,
// so that Appended and OnDisk are too low.
func (a *Account) Counting() bool {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	return a.counting
}

// now is Terms. What was read before it was counted as appended is appended.
func (a *Account) now() Terms {
	t := a.terms.clone()
	t.OnDisk = a.held.samples
	if n := a.unread.sum(); n >= 0 {
		t.OnDisk += uint64(n)
	} else {
		t.Appended += uint64(-n)
	}
	return t
}

func (a *Account) saved() Saved {
	s := Saved{URL: a.url, Mark: later(a.mark, a.gone), Sent: a.sent, Late: a.late, StoresPartial: a.storesPartial, Terms: a.now()}
	if a.used || a.unordered.Compare(s.Mark) > 0 {
		s.Unordered = a.unordered
	}
	if a.usedAsked || a.asked.Before.Compare(s.Mark) > 0 {
		s.Asked = a.asked.clone()
	}
	if a.usedRefused || a.refused.Compare(s.Mark) > 0 {
		s.Refused = a.refused
	}
	lost := a.held.before(a.gone)
	s.Terms.Evicted += lost
	s.Terms.OnDisk -= lost
	return s
}

// Unread returns how many samples were appended and not read yet; negative while
// more has been read than is known to have been appended.
func (a *Account) Unread() int64 {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	return a.unread.sum()
}
