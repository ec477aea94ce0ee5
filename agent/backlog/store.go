package backlog

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	prom_runtime "github.com/prometheus/prometheus/util/runtime"
)

// Store keeps the segments of this run and of those before.
type Store struct {
	logger  log.Logger
	budget  budget
	lock    *dirLock
	anchors anchors
	metrics *metrics
	damage  *damageLog
	limit   *logLimiter

	inv    *inventory
	room   *room
	linker *linker
	count  *count
	syncer *syncer

	// op is held by what changes files (sweeps, releases, Close), and while OnEvict
	// is called: the callee's locks are taken under it. inventory.mu is taken under
	// op, never the other way round.
	op      sync.Mutex
	tail    *tail
	rescuer *rescuer
	remover *remover
	evictor *evictor
	closed  chan struct{}

	wakeSweep chan struct{}
	committed atomic.Bool // since the last sweep
	swept     time.Time   // guarded by op

	unwritable atomic.Pointer[error] // see Unwritable

	changedMu sync.Mutex    // a leaf
	changed   chan struct{} // nil: nobody waits
}

// Open takes possession of the directory, turns what the last run left in wal/
// into a finished generation, and begins a new one. Its cost does not depend on
// the size of the backlog. The agent.DB must be opened after it, without a lock
// file of its own, unless nothing can be written: see Unwritable. It fails when
// another process has the directory (ErrHeld), when there is nothing of an earlier
// run and nothing can be created (ErrUnusable), or when the backlog cannot be listed.
func Open(o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = log.NewNopLogger()
	}
	if o.OnEvict == nil {
		o.OnEvict = func(Position) {}
	}
	if o.LiveSegment == nil {
		o.LiveSegment = func() int { return math.MaxInt }
	}
	if o.Delivered == nil {
		o.Delivered = func() Position { return Position{} }
	}
	if o.link == nil {
		o.link = os.Link
	}
	logger := log.With(o.Logger, "component", "backlog")
	unwritable, err := makeDirs(o.Dir)
	if err != nil {
		return nil, err
	}
	b, err := decideBudget(o, int64(min(prom_runtime.FsSize(o.Dir), 1<<62)))
	if err != nil {
		return nil, err
	}
	if explicit := o.MaxBytes > 0 || o.SegmentSize > 0; explicit && b.coarse() {
		level.Warn(logger).Log("msg", "The backlog is small against the segments of the WAL, much of it will stay unused", "max_bytes", b.maxBytes, "segment_bytes", b.segmentBytes)
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	m := newMetrics(o.Registerer)
	damage := newDamageLog(m)
	inv, unwritable, err := begin(o, logger, damage, unwritable)
	if err != nil {
		return nil, errors.Join(err, lock.release())
	}
	s := compose(o, logger, b, inv, m, damage)
	s.lock = lock
	s.op.Lock()
	defer s.op.Unlock()
	if err := s.anchors.hold(o.Dir, inv.walDir, inv.rootDir); unwritable == nil {
		unwritable = err
	}
	if err := s.evictor.meter.measure(); unwritable == nil {
		unwritable = err
	}
	if unwritable == nil {
		unwritable = s.evictor.meter.full()
	}
	if unwritable != nil {
		s.GiveUp(unwritable)
	}
	return s, nil
}

// compose puts the parts together: what a part calls has been made before it.
func compose(o Options, logger log.Logger, b budget, inv *inventory, m *metrics, damage *damageLog) *Store {
	s := &Store{
		logger: logger, budget: b, metrics: m, damage: damage, limit: &logLimiter{},
		inv: inv, room: &room{},
		syncer: &syncer{inv: inv, metrics: m, interval: o.SyncInterval, delivered: o.Delivered, since: time.Now()},
		closed: make(chan struct{}), wakeSweep: make(chan struct{}, 1),
	}
	tallies := newTallies()
	s.count = &count{inv: inv, tallies: tallies, closed: s.closed}
	s.linker = &linker{inv: inv, room: s.room, link: o.link, logger: logger, limit: s.limit}
	s.tail = &tail{
		reader:   newReader(inv, damage, logger, Position{Generation: inv.current}),
		counting: !inv.hardLinks, tallies: tallies,
	}
	checkpoints := &checkpoints{inv: inv, damage: damage}
	s.rescuer = &rescuer{
		inv: inv, checkpoints: checkpoints, damage: damage, metrics: m,
		mergeBelow: min(mergeBelow, b.segmentBytes), // the budget reckons with a segment
		failures:   map[string]int{},
	}
	s.remover = &remover{inv: inv, tallies: tallies, checkpoints: checkpoints, rescuer: s.rescuer}
	s.evictor = &evictor{
		inv: inv, linker: s.linker, rescuer: s.rescuer, remover: s.remover,
		meter:   &meter{dir: o.Dir, budget: b, inv: inv, tail: s.tail, room: s.room, metrics: m},
		metrics: m, logger: logger, limit: s.limit,
		onEvict: o.OnEvict, liveSegment: o.LiveSegment,
	}
	return s
}

// Sweep does once what Run does all the time, but for the syncs: links what is new
// in wal/, unlinks what was released, and enforces the budget.
func (s *Store) Sweep() error {
	s.op.Lock()
	defer s.op.Unlock()
	if s.isClosed() {
		return nil
	}
	s.committed.Store(false) // before anything is looked at
	s.swept = time.Now()
	if s.Unwritable() != nil {
		return errors.Join(s.remover.released(), s.evictor.meter.measure())
	}
	lost, err := s.linker.update()
	if err != nil {
		return err
	}
	errs := []error{s.tail.read()}
	if len(lost) > 0 {
		s.evictor.lostToTruncation(lost)
	}
	s.inv.mu.Lock()
	g := s.inv.running() // gets new checkpoints without anything being unlinked
	s.inv.mu.Unlock()
	return errors.Join(append(errs, s.remover.released(), s.remover.checkpoints.prune(g), s.evictor.enforce())...)
}

// Sync makes all that was written to the WAL so far survive a power cut.
func (s *Store) Sync() error {
	s.look()
	return s.syncer.sync()
}

// SyncAll is Sync for who must know that all that was written in this run survives. It fails
// where any sync of this run has.
func (s *Store) SyncAll() error {
	if err := s.Sync(); err != nil {
		return err
	}
	s.syncer.mu.Lock()
	defer s.syncer.mu.Unlock()
	return s.syncer.failed
}

// look links the segments that have come into being. Each brings about a sweep.
func (s *Store) look() {
	if s.linker.findSegments() {
		s.wake()
	}
}

func (s *Store) wake() {
	select {
	case s.wakeSweep <- struct{}{}:
	default:
	}
}

// Notify says that something was committed to the WAL. The caller of agent.DB's
// appender calls it after every commit. It links the segments that have come
// into being, so that no truncation can be faster.
func (s *Store) Notify() {
	s.committed.Store(true)
	s.syncer.wrote.Store(true)
	s.look()
	s.changedMu.Lock()
	defer s.changedMu.Unlock()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Changed returns a channel that is closed at the next Notify. A reader takes
// it before it reads to the end, and waits for it after.
func (s *Store) Changed() <-chan struct{} {
	s.changedMu.Lock()
	defer s.changedMu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// Generation returns the number of the running generation.
func (s *Store) Generation() int { return s.inv.current }

// NextGeneration returns what Options.MinGeneration must be when the store is opened
// next. Nothing was ever written under the number of a run that had nothing but
// that, and what is read in place keeps its own.
func (s *Store) NextGeneration() int {
	s.inv.mu.Lock()
	defer s.inv.mu.Unlock()
	switch {
	case s.inv.inPlace > 0:
		return s.inv.inPlace
	case s.inv.numberOnly:
		return s.inv.current
	}
	return s.inv.current + 1
}

// SegmentSize returns the size in bytes that the segments of the WAL must have.
func (s *Store) SegmentSize() int { return int(s.budget.segmentBytes) }

// End returns the position behind the last byte of the WAL right now.
func (s *Store) End() Position { return s.inv.walEnd() }

// Oldest returns the oldest position that can be read and that was not released.
func (s *Store) Oldest() Position { return s.inv.oldest() }

// NewReader returns a reader of all that lies behind a position. It never fails:
// what is not there is Missing.
func (s *Store) NewReader(from Position) *Reader {
	return newReader(s.inv, s.damage, s.logger, from)
}

// Count returns what lies between two positions, exactly: the records that end
// behind from and not behind to. It reads the segments, but for those that were
// counted as a whole before, and holds no lock meanwhile; what is unlinked in
// between is left out, as is what is damaged or missing. With an error, which is a
// failure of the disk or os.ErrClosed after Close, come the counts of what could be
// read.
func (s *Store) Count(from, to Position) (Counts, error) { return s.count.between(from, to) }

// Scraped is when something was scraped in one generation, in milliseconds: first, and last.
// It goes by the last sample of a record. Upstream ends a scrape with the samples in which it
// reports on it, whose time is that of the scrape, whatever the target dates its own
// (scrape.scrapeLoop.report, v0.316.0).
type Scraped struct {
	Generation  int
	First, Last int64
}

// Scraped returns that of each generation which has samples between two positions; the
// first may have others before. With an error, a failure of the disk, comes what could be
// read.
func (s *Store) Scraped(from, to Position) ([]Scraped, error) { return s.count.scraped(from, to) }

// Pending returns the number of bytes on disk behind a position, as the last sweep
// found them: of the segment being written, less than there is. It reads nothing.
func (s *Store) Pending(from Position) (bytes int64) { return s.count.bytes(from) }

// Usage returns what the last sweep found.
func (s *Store) Usage() Usage { return s.room.last() }

// Unwritable returns why nothing can be written in this run, nil as a rule. It never
// becomes nil again: see TryWrite.
func (s *Store) Unwritable() error {
	if why := s.unwritable.Load(); why != nil {
		return *why
	}
	return nil
}

// GiveUp says that nothing can be written in this run: the agent.DB could not be
// opened.
func (s *Store) GiveUp(why error) {
	s.unwritable.Store(&why)
	s.metrics.refusing.Set(1)
}

// Refusing reports whether appends must be refused: nothing can be written in this
// run, or the budget is used up and nothing is left to evict. The latter becomes
// false again when there is space.
func (s *Store) Refusing() bool { return s.Unwritable() != nil || s.room.refusing.Load() }

// Vanished returns ErrVanished, and for good, when the directories of the run or the
// segment being written are not to be found under their names. What bears these names
// then is not ours: it must not be written to, or be removed, as if it was. A run that
// writes nothing may be without some of them, and looks for itself whether it could make
// them: see TryWrite.
func (s *Store) Vanished() error {
	if s.Unwritable() != nil {
		return s.anchors.lookForFirst()
	}
	if err := s.anchors.look(); err != nil {
		return err
	}
	return s.anchors.lookForLast(s.inv)
}

// Moved reports, of a run that has vanished, whether the storage directory itself has
// another name or none: what bears its name is another one.
func (s *Store) Moved() bool { return s.anchors.moved() }

// Release says that nobody needs anything before a position any more. The caller
// has made sure that its marks say so on disk: after a restart, a mark that points
// to what was released finds data Missing.
//
// Whole segments before the position are unlinked, in order, and finished
// generations before it. A segment that is still in wal/ waits until upstream has
// truncated it: it costs nothing until then, and after it a checkpoint holds the
// series. While a sweep is under way, Release returns at once and leaves the work
// to the next one.
func (s *Store) Release(to Position) error {
	s.inv.mu.Lock()
	s.inv.released = maxPosition(s.inv.released, to)
	s.inv.mu.Unlock()
	if !s.op.TryLock() {
		s.wake()
		return nil
	}
	defer s.op.Unlock()
	if s.Vanished() != nil {
		return nil // what bears these names now is not ours
	}
	return s.remover.released()
}

// Close links what is still to be linked, syncs, and gives the directory back.
// The agent.DB must have been closed before. Of a directory that has vanished, nothing
// is left to be linked.
func (s *Store) Close() error {
	s.op.Lock()
	defer s.op.Unlock()
	if s.isClosed() {
		return nil
	}
	close(s.closed)
	defer s.anchors.release()
	if s.Vanished() != nil {
		s.tail.reader.Close()
		if s.Moved() {
			return s.lock.unlock()
		}
		return s.lock.release()
	}
	var errs []error
	if _, err := s.linker.update(); err != nil {
		errs = append(errs, fmt.Errorf("cannot link the last segments: %w", err))
	}
	errs = append(errs, s.syncer.sync())
	s.tail.reader.Close()
	return errors.Join(append(errs, s.lock.release())...)
}

func (s *Store) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}
