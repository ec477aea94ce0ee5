package ledger

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// Book holds the accounts of all destinations in one run. Its methods, and those
// of its accounts, may be called from several goroutines.
type Book struct {
	generation int    // that runs
	inherited  uint64 // not appended before this run

	mtx         sync.Mutex
	appended    tally // in this run
	notAppended uint64
	recovered   uint64
	counted     bool // Recovered has been called
	accounts    map[string]*Account
}

// NewBook begins the book of the run that writes a generation of the backlog
// (from 1 on). notAppended is File.NotAppended, what earlier runs did not append.
func NewBook(generation int, notAppended uint64) *Book {
	return &Book{generation: generation, inherited: notAppended, accounts: map[string]*Account{}}
}

// Append counts n samples of a commit, in every account, for the generation that
// the commit was written to.
func (b *Book) Append(n uint64, generation int) {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	*b.appended.of(generation) += int64(n)
	for _, a := range b.accounts {
		a.terms.Appended += n
		*a.unread.of(generation) += int64(n)
	}
}

// NotAppended counts n samples that were refused before the WAL.
func (b *Book) NotAppended(n uint64) {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	b.notAppended += n
	for _, a := range b.accounts {
		a.terms.NotAppended += n
	}
}

// Reject counts n samples that the agent's own storage did not take.
func (b *Book) Reject(reason string, n uint64) {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	for _, a := range b.accounts {
		add(&a.terms.Rejected, reason, n)
	}
}

// Totals returns the samples that were appended in this run, and those that were
// not appended since the storage directory was created, which is what
// File.NotAppended is to be. Neither depends on which accounts there are.
func (b *Book) Totals() (appended, notAppended uint64) {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	return uint64(b.appended.sum()), b.inherited + b.notAppended
}

// Open begins the account of a destination. The name must not be open.
//
// s is either from Load, or from Remove, or made by the caller for a destination
// that begins now (URL and Mark). The first two take over what was appended
// since. For the third, no commit may come between reading the WAL's end and
// Open: it would be read from there, and not be counted as appended before the
// generation is crossed.
//
// What an account from Load has not read belongs to the generations below the
// running one. With counting it lacks what was appended after the file was
// written, until Recovered says how much that was, or Crossed makes it needless.
// Where there was no file at all, everything on disk is to be recovered: make
// s with the oldest position on disk for a mark, and open it with counting.
// Accounts from Remove go on as they were, whatever counting says.
func (b *Book) Open(name string, s Saved, counting bool) *Account {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	o := s.origin
	if o == nil {
		o = &origin{}
		if !counting {
			o.appended, o.notAppended = b.appended, b.notAppended
		}
	}
	a := &Account{
		book: b, url: s.URL,
		mark: s.Mark, read: s.Mark, sent: s.Sent, unordered: s.Unordered, asked: s.Asked.clone(), late: s.Late, storesPartial: s.StoresPartial, refused: s.Refused,
		terms: s.Terms.clone(), unread: slices.Clone(o.unread), counting: counting,
	}
	if o.removed {
		a.counting = o.counting
		// What was read before it was counted as appended is not yet in the terms.
		a.terms.Appended = uint64(int64(a.terms.settled()) + a.unread.sum())
	} else {
		*a.unread.of(b.generation - 1) += int64(a.terms.Appended - a.terms.settled())
	}
	for _, c := range b.appended.less(o.appended) {
		a.terms.Appended += uint64(c.n)
		*a.unread.of(c.last) += c.n
	}
	a.terms.NotAppended += b.notAppended - o.notAppended
	if b.counted {
		a.recover(b.recovered)
	}
	b.accounts[name] = a
	return a
}

// Remove ends an account, after a Forget, and returns what Open needs to go on
// with it in the same run, under this name or another. No Evict of it may be
// going on. An account that nobody serves for a while need not be removed: it
// goes on counting what is appended and evicted, as if the endpoint was dead.
func (b *Book) Remove(name string) Saved {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	a, ok := b.accounts[name]
	if !ok {
		return Saved{}
	}
	delete(b.accounts, name)
	a.forget()
	s := a.saved()
	s.origin = &origin{
		removed: true, counting: a.counting, unread: slices.Clone(a.unread),
		appended: slices.Clone(b.appended), notAppended: b.notAppended,
	}
	return s
}

// Saved returns what delivery.json is to hold of all accounts, as of one moment.
// Where it goes with a File's Tail, no commit may be going on. Written is to be called
// when it is written; until then MaySendUnordered, MayAsk, MaySendLate and WasRefused count on nothing that it lacks.
func (b *Book) Saved() map[string]Saved {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	out := make(map[string]Saved, len(b.accounts))
	for name, a := range b.accounts {
		s := a.saved()
		if a.counting {
			s.Counting = true
			s.Terms.Appended -= s.Terms.OnDisk
			s.Terms.OnDisk = 0
		}
		a.told, a.used = a.told && !s.Unordered.IsZero(), false
		a.toldAsked = slices.DeleteFunc(a.toldAsked, func(series uint64) bool { return !s.Asked.Has(series) })
		a.usedAsked = false
		if s.Late.UpTo != a.toldLate.UpTo || s.Late.Unordered != a.toldLate.Unordered {
			a.toldLate = Late{}
		}
		if a.often && a.usedRefused {
			s.Refused = backlog.Position{Generation: a.refused.Generation + 1}
		}
		a.often, a.usedRefused = a.often && a.usedRefused, false
		if s.Refused.Compare(a.toldRefused) < 0 {
			a.toldRefused = s.Refused
		}
		out[name] = s
	}
	return out
}

// Written says that delivery.json holds what Saved returned last. No account may have
// been opened since.
func (b *Book) Written(saved map[string]Saved) {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	for name, a := range b.accounts {
		s := saved[name]
		a.told, a.toldAsked, a.toldLate, a.toldRefused = !s.Unordered.IsZero(), slices.Clone(s.Asked.Series), s.Late, s.Refused
	}
}

// Terms returns those of all accounts, as of one moment.
func (b *Book) Terms() map[string]Terms {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	out := make(map[string]Terms, len(b.accounts))
	for name, a := range b.accounts {
		out[name] = a.now()
	}
	return out
}

// Recovered says that n samples on disk were appended by earlier runs after
// delivery.json had been written. They are added to what the accounts that are
// opened with counting have not read, unless these have read it all meanwhile and
// know better. It is called once; accounts may be opened after it.
func (b *Book) Recovered(n uint64) {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	b.counted, b.recovered = true, n
	for _, a := range b.accounts {
		a.recover(n)
	}
}

// Saved is one destination's part of delivery.json.
type Saved struct {
	// URL without secrets: a destination with a new name is known by it.
	URL string
	// Mark: everything before it is settled. What was held in memory when it was
	// evicted from disk is evicted here, because a crash would lose it.
	Mark backlog.Position
	// Sent: what lies between Mark and Sent may have been sent without an answer.
	Sent backlog.Position
	// Unordered: what lies between Mark and Unordered may have been sent in another order
	// than that of the WAL. Zero: nothing. In a file that may be older than what was sent
	// last, any other value, also one before Mark, stands for all up to Sent: it stays
	// while batches need it, so that not each has to be written ahead.
	Unordered backlog.Position
	// Asked: of what lies between Mark and Asked.Before, the samples of these series may
	// have been sent in another order than the rest. In a file that may be older than what
	// was sent last, any position but zero stands for Sent.
	Asked Asked
	// Late: of what lies between Mark and Late.Before, what is dated up to Late.UpTo may
	// have been sent beside the rest. Both are in the order of the WAL. In a file that may
	// be older than what was sent last, any position but zero stands for Sent. It stays
	// when Mark is behind it: who sends samples as late again needs no write of its own.
	Late Late
	// StoresPartial is the version of remote write, 1.0 or 2.0, of which the endpoint is known
	// to store the good samples of a request that it refuses; empty: of none.
	StoresPartial string
	// Refused: of what lies between Mark and Refused, samples may have been refused for good,
	// and newer ones of their series have been sent since. Zero: none were. While
	// samples are refused again and again, it is the end of their generation in delivery.json,
	// so that not each refusal has to be written ahead.
	Refused backlog.Position
	// Counting: what earlier runs appended had not been counted when this was
	// taken. Terms do not have it then, nor anything that is behind Mark: Open
	// with counting, and count from Mark on (Account.Recovered).
	Counting bool
	Terms    Terms
	// GoneSince is when the configuration ceased to name the destination, zero if it
	// names it; GoneFor how long the agent has been running since. A Book keeps
	// neither.
	GoneSince time.Time
	GoneFor   time.Duration

	origin *origin
}

// origin says what of a Book an account has seen when it was saved.
type origin struct {
	appended    tally
	notAppended uint64

	removed  bool // from a Book that goes on; the rest is set only then
	counting bool
	unread   tally
}

// Accounts returns all that are open, by the names of their destinations.
func (b *Book) Accounts() map[string]*Account {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	return maps.Clone(b.accounts)
}
