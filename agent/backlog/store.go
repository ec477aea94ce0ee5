package backlog

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	sloggokit "github.com/tjhop/slog-gokit"

	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

// Options of a Store.
type Options struct {
	// Dir is the storage directory; wal/ and backlog/ lie in it.
	Dir string

	// MinGeneration is the least number that the new generation may have. The
	// caller remembers it next to its marks: a number that a mark knows must
	// never come back with other content, even if the directory is gone.
	MinGeneration int

	// MaxBytes bounds wal/ and backlog/ together. 0 means 10 % of the file
	// system, at most 1 GiB.
	MaxBytes int64

	// MinFreeBytes is what the store leaves free on the file system, and in any
	// case the room of two checkpoints. 0 means 5 % of the file system, at
	// least 16 MiB, at most 256 MiB and at most a quarter of the file system.
	MinFreeBytes int64

	// SyncInterval is how often the segment being written is synced, which is
	// how much a power cut may cost. 0 means never: upstream syncs a segment
	// only when it is full.
	SyncInterval time.Duration

	// SegmentSize is that of the WAL, in bytes: what may be written between two
	// looks at the budget is reckoned with it.
	SegmentSize int64

	Logger     log.Logger
	Registerer prometheus.Registerer // nil: no metrics

	// OnEvict is called before anything before position to is unlinked because
	// of the budget. The callee may read and count what goes, and moves its
	// marks to it. Only where the file system has no hard links, upstream may
	// have deleted it already; Count still knows the numbers then. It must not
	// call Sweep or Close, and a Release takes effect after it has returned.
	OnEvict func(to Position)

	// LiveSegment returns the lowest segment in wal/ that every live watcher has
	// reached; the files of wal/ below it may be evicted. math.MaxInt when
	// nobody is live. While a watcher starts, it reads wal/ from the beginning,
	// and a file that vanishes under it makes it start again with a gap: return
	// 0 then. nil means that nobody is ever live.
	LiveSegment func() int

	link func(from, to string) error // os.Link; tests take hard links away
}

// Store keeps the segments of this run and of those before.
//
// Locks: op is held by what changes files (sweeps, releases, Close) and while
// OnEvict is called; mu guards the inventory and is never held while a callback
// runs or content is read. Whoever takes both takes op first.
type Store struct {
	opts    Options
	logger  log.Logger
	metrics *metrics
	lock    *tsdbutil.DirLocker
	index   *index

	walDir  string
	rootDir string // backlog/
	// hardLinks is false where the file system has none. Then the running
	// generation is read from wal/, and what upstream deletes there is gone.
	hardLinks bool
	current   int // number of the running generation

	op           sync.Mutex
	frees        []freed   // of the last seconds; see budget.go
	rescueFailed time.Time // when; see writeContext
	refused      bool      // what was logged last
	closed       bool

	syncMu   sync.Mutex
	syncedTo int // the first segment of the running generation that may hold unsynced data; guarded by syncMu

	wakeSweep  chan struct{}
	wakeIndex  chan struct{}
	refusing   atomic.Bool
	logLimiter logLimiter

	mu          sync.Mutex
	generations []*generation // by number, ascending; the last is the running one
	released    Position      // nobody needs anything before it
	evicted     Position      // eviction has gone up to here in this run
	usage       Usage
	grown       int64               // bytes of segments finished since usage was taken
	refuseAbove int64               // what they may add up to before the next sweep
	noted       map[string]struct{} // damaged files, counted once
	changed     chan struct{}       // nil: nobody waits
}

// Open takes possession of the directory, turns what the last run left in wal/
// into a finished generation, and begins a new one. Its cost does not depend on
// the size of the backlog. The agent.DB must be opened after it, without a lock
// file of its own.
func Open(o Options) (_ *Store, err error) {
	if o.Logger == nil {
		o.Logger = log.NewNopLogger()
	}
	if o.OnEvict == nil {
		o.OnEvict = func(Position) {}
	}
	if o.LiveSegment == nil {
		o.LiveSegment = func() int { return math.MaxInt }
	}
	if o.link == nil {
		o.link = os.Link
	}
	s := &Store{
		opts:      o,
		logger:    log.With(o.Logger, "component", "backlog"),
		index:     newIndex(),
		walDir:    filepath.Join(o.Dir, "wal"),
		rootDir:   filepath.Join(o.Dir, "backlog"),
		wakeSweep: make(chan struct{}, 1),
		wakeIndex: make(chan struct{}, 1),
		noted:     map[string]struct{}{},
	}
	for _, dir := range []string{s.walDir, s.rootDir} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return nil, fmt.Errorf("cannot create the storage directory: %w", err)
		}
	}
	// Without a registerer: agent.DB registers a gauge of the same name.
	slogger := slog.New(sloggokit.NewGoKitHandler(s.logger, slog.LevelInfo))
	if s.lock, err = tsdbutil.NewDirLocker(o.Dir, "agent", slogger, nil); err != nil {
		return nil, err
	}
	if err := s.lock.Lock(); err != nil {
		return nil, err
	}
	s.metrics = newMetrics(o.Registerer)
	defer func() {
		if err != nil {
			s.metrics.unregister()
			err = errors.Join(err, s.lock.Release())
		}
	}()
	if err := s.setBudget(); err != nil {
		return nil, err
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	s.op.Lock()
	defer s.op.Unlock()
	return s, s.measure()
}

// begin adopts what is there and creates the generation of this run.
func (s *Store) begin() error {
	numbers, err := generationNumbers(s.rootDir)
	if err != nil {
		return fmt.Errorf("cannot list the backlog: %w", err)
	}
	if s.hardLinks, err = s.probeHardLinks(); err != nil {
		return err
	}
	if !s.hardLinks {
		level.Warn(s.logger).Log("msg", "The file system has no hard links: what was not delivered before a truncation of the WAL is lost. It survives restarts only.", "dir", s.opts.Dir)
	}
	if numbers, err = s.adopt(numbers); err != nil {
		return fmt.Errorf("cannot adopt the WAL of the last run: %w", err)
	}
	for _, n := range numbers {
		g, err := loadGeneration(s.rootDir, n)
		if err != nil {
			return fmt.Errorf("cannot read generation %d: %w", n, err)
		}
		s.generations = append(s.generations, g)
	}
	kept, empty := s.sift()
	g, err := s.createGeneration(numbers, kept, empty)
	if err != nil {
		return fmt.Errorf("cannot begin a generation: %w", err)
	}
	// Only now: what the dropped ones knew of emptiness has been handed on.
	for _, e := range empty {
		if err := removeDir(e.dir); err != nil {
			return fmt.Errorf("cannot drop empty generation %d: %w", e.number, err)
		}
	}
	s.generations = append(kept, g)
	s.current = g.number
	level.Info(s.logger).Log("msg", "Backlog opened", "generation", g.number, "finished", len(kept), "dropped_empty", len(empty))
	return nil
}

// Generation returns the number of the running generation.
func (s *Store) Generation() int { return s.current }

// End returns the position behind the last byte of the WAL right now.
func (s *Store) End() Position {
	s.mu.Lock()
	i, ok := s.running().last()
	s.mu.Unlock()
	if ok && !exists(filepath.Join(s.walDir, segmentName(i))) { // long ago
		if segments, _, err := s.listWAL(); err == nil && len(segments) > 0 {
			i = segments[0]
		}
	}
	end := Position{Generation: s.current}
	for ; ; i++ { // the inventory may be a segment behind
		fi, err := os.Stat(filepath.Join(s.walDir, segmentName(i)))
		if err != nil {
			return end
		}
		end.Segment, end.Offset = i, fi.Size()
	}
}

// Oldest returns the oldest position that can be read and that was not released.
func (s *Store) Oldest() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.generations {
		i := 0
		if g.number < s.released.Generation {
			continue
		}
		if g.number == s.released.Generation {
			i = s.released.Segment
		}
		if i, ok := g.from(i); ok {
			return Position{Generation: g.number, Segment: i}
		}
	}
	return Position{Generation: s.current}
}

// Notify says that something was committed to the WAL. The caller of agent.DB's
// appender calls it after every commit. It links the segments that have come
// into being, so that no truncation can be faster.
func (s *Store) Notify() {
	if s.findSegments() {
		wake(s.wakeSweep)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Changed returns a channel that is closed at the next Notify. A reader takes
// it before it reads to the end, and waits for it after.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// Close links what is still to be linked, syncs, and gives the directory back.
// The agent.DB must have been closed before.
func (s *Store) Close() error {
	s.op.Lock()
	defer s.op.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	if _, err := s.link(); err != nil {
		errs = append(errs, fmt.Errorf("cannot link the last segments: %w", err))
	}
	errs = append(errs, s.Sync(), s.index.close(), s.lock.Release())
	s.metrics.unregister()
	return errors.Join(errs...)
}

// running returns the generation of this run. Callers hold mu.
func (s *Store) running() *generation { return s.generations[len(s.generations)-1] }

// generation returns the one of that number, or nil. Callers hold mu.
func (s *Store) generation(number int) *generation {
	for _, g := range s.generations {
		if g.number == number {
			return g
		}
	}
	return nil
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
