package delivery

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// marks writes delivery.json and releases what lies before all marks in it.
type marks struct {
	*shared

	dir string

	// mtx is held while marks are written, moved by eviction, or passed on from
	// one destination to the next: what is written in between would lack some, and
	// what these still need would be released.
	mtx turn
	// latest is the latest time that the clock is known to have had, in
	// milliseconds. Guarded by mtx.
	latest int64
	// passed tells when overtaken is over. Guarded by mtx.
	passed passed
	// held is the time Written in delivery.json; 0: there is none. Guarded by mtx.
	held int64
	// known: the destinations are. Until then, what delivery.json says of them must
	// stay. Guarded by mtx.
	known bool

	// unwritten is what delivery.json should hold, if it could not be written. It is
	// what the next run in this process goes by. Guarded by mtx.
	unwritten *ledger.File
	// trouble is when it could not be written. Guarded by mtx.
	trouble saveTrouble

	// forgotten samples; they are added under mtx.
	forgotten atomic.Uint64

	writtenMtx sync.Mutex
	written    backlog.Position // the lowest mark in delivery.json; guarded by writtenMtx
}

// turn is a mutex that a destination can wait for until it is to end: who waits for that
// may hold it.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) Lock()   { t <- struct{}{} }
func (t turn) Unlock() { <-t }

// LockUntil returns an error, and has not locked, when ctx ends first.
func (t turn) LockUntil(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// evict is backlog's OnEvict. The marks are written before anything is deleted:
// after a crash, it could not be counted any more.
func (m *marks) evict(to backlog.Position) {
	m.mtx.Lock()
	defer m.mtx.Unlock()
	count := func(from, to backlog.Position) (uint64, error) {
		n, err := m.store.Count(from, to)
		return n.Samples(), err
	}
	for name, account := range m.book.Accounts() {
		n, err := account.Evict(to, count)
		if err != nil {
			level.Error(m.logger).Log("msg", "Cannot count what is evicted", "destination", name, "err", err)
		}
		if n > 0 {
			level.Warn(m.logger).Log("msg", "The oldest unsent samples were evicted to keep the storage budget", "destination", name, "samples", n, "up_to", to)
		}
	}
	if !m.known {
		return
	}
	if _, err := m.write(false); err != nil {
		level.Error(m.logger).Log("msg", "Cannot save the marks before an eviction", "err", err)
	}
}

// segmentDone reports whether every destination has left the segment that the
// written marks still keep.
func (m *marks) segmentDone() bool {
	lowest := m.lowest()
	m.writtenMtx.Lock()
	defer m.writtenMtx.Unlock()
	return lowest.Generation > m.written.Generation || lowest.Segment > m.written.Segment
}

// lowest is the lowest mark of this moment, whatever is written.
func (m *marks) lowest() backlog.Position {
	var at []backlog.Position
	for _, account := range m.book.Accounts() {
		at = append(at, account.Mark())
	}
	if len(at) == 0 {
		at = append(at, m.store.End())
	}
	return lowestOf(at)
}

// delivered is backlog's Delivered: nothing is before the destinations are known.
func (m *marks) delivered() backlog.Position {
	m.writtenMtx.Lock()
	begun := !m.written.IsZero()
	m.writtenMtx.Unlock()
	if !begun {
		return backlog.Position{}
	}
	return m.lowest()
}

func lowestOf(positions []backlog.Position) backlog.Position {
	var lowest backlog.Position
	for _, p := range positions {
		if lowest.IsZero() || p.Compare(lowest) < 0 {
			lowest = p
		}
	}
	return lowest
}

// saveAndRelease writes delivery.json, and only then unlinks what lies before
// all marks in it: a crash must not find marks that point at nothing.
func (m *marks) saveAndRelease(clean bool) error {
	m.mtx.Lock()
	defer m.mtx.Unlock()
	if !m.known {
		return nil
	}
	lowest, err := m.write(clean)
	if backlog.IsFull(err) {
		// Else nothing would ever make room: what all have is unlinked first. A crash
		// right here finds marks that point at nothing, and says so.
		released := m.store.Release(lowest)
		if lowest, err = m.write(clean); err != nil {
			err = errors.Join(err, released)
		}
	}
	if err != nil {
		return err
	}
	return m.store.Release(lowest)
}

// save writes delivery.json for a destination, ahead of what it is about to do. It
// returns an error only when ctx ends first. That the file cannot be written keeps no
// sample from being delivered: it is told by the regular save, and what a kill finds then
// is a file that knows less. After a write that failed, by whomever, none is tried for a
// while.
func (m *marks) save(ctx context.Context) error {
	if err := m.mtx.LockUntil(ctx); err != nil {
		return err
	}
	defer m.mtx.Unlock()
	if m.trouble.due(time.Now()) {
		_, _ = m.write(false)
	}
	return ctx.Err()
}

// write writes delivery.json as of one moment at which nothing is being
// committed, and returns the lowest mark in it, also with an error. Callers hold mtx.
func (m *marks) write(clean bool) (backlog.Position, error) {
	m.latest = max(m.latest, time.Now().UnixMilli())
	f := ledger.File{Generation: m.store.NextGeneration() - 1, Written: m.latest, Clean: clean, Forgotten: m.forgotten.Load()}
	m.intake.atRest(m.store.End, func(end backlog.Position) {
		f.Tail = end
		_, f.NotAppended = m.book.Totals()
		f.Destinations = m.book.Saved()
		m.gone.save(f.Destinations, time.Now())
	})
	if m.passed.look(time.Now(), m.store.Generation(), f.Destinations) {
		m.overtaken.Store(&ledger.Overtaken{})
	}
	f.Overtaken = *m.overtaken.Load()
	at := make([]backlog.Position, 0, len(f.Destinations))
	for _, s := range f.Destinations {
		at = append(at, s.Mark)
	}
	if len(at) == 0 {
		at = append(at, f.Tail)
	}
	lowest := lowestOf(at)
	if lowest.Compare(f.Tail) < 0 {
		// After a power cut, what these marks count as appended and not as settled is
		// lost where it is not on disk, also if it was delivered since. A failure is
		// told by the metrics, and by the next sync.
		_ = m.store.SyncWritten()
	}
	err := m.store.Vanished() // what has the name now may have marks of its own
	if err == nil {
		var written int64
		if written, err = ledger.Write(m.dir, f); err == nil {
			m.held = written
			m.book.Written(f.Destinations)
		}
	}
	m.trouble.did(time.Now(), err)
	if err != nil {
		again := ledger.Unwritten(f, m.held)
		m.unwritten = &again
		return lowest, err
	}
	m.unwritten = nil
	m.writtenMtx.Lock()
	defer m.writtenMtx.Unlock()
	m.written = lowest
	return lowest, nil
}
