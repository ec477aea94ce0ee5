package backlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

const (
	sweepInterval = 250 * time.Millisecond
	// The background count of older generations takes at most a fifth of a core.
	countPause = 4
)

// Run keeps the backlog in order until the context ends: links, budget, syncs,
// counts. It returns nil then; Close is still to be called.
func (s *Store) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.countLoop(ctx) })
	wg.Go(func() { s.syncLoop(ctx) })
	defer wg.Wait()

	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		if err := s.Sweep(); err != nil {
			s.logLimiter.log(level.Error(s.logger), "Sweep failed", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-s.wakeSweep: // a new segment
		}
	}
}

// syncLoop is apart from the sweeps because a sync may take seconds on a bad disk,
// and the budget must not wait for it.
func (s *Store) syncLoop(ctx context.Context) {
	if s.opts.SyncInterval <= 0 {
		return
	}
	ticker := time.NewTicker(s.opts.SyncInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := s.Sync(); err != nil {
			s.logLimiter.log(level.Error(s.logger), "Sync of the WAL failed", err)
		}
	}
}

func (s *Store) countLoop(ctx context.Context) {
	for {
		begin := time.Now()
		more, err := s.countOne()
		if err != nil {
			s.logLimiter.log(level.Warn(s.logger), "Cannot count a segment", err)
		}
		var again <-chan time.Time
		if more {
			again = time.After(countPause * time.Since(begin))
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-s.wakeIndex:
			if more { // as soon as the pause is over
				select {
				case <-ctx.Done():
					return
				case <-again:
				}
			}
		}
	}
}

// Sweep does once what Run does all the time, but for the syncs and the counts of
// older generations: links what is new in wal/, counts it, unlinks what was
// released, and enforces the budget.
func (s *Store) Sweep() error {
	s.op.Lock()
	defer s.op.Unlock()
	if s.closed {
		return nil
	}
	lost, err := s.link()
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		s.lostToTruncation(lost)
	}
	s.index.dropDetail(time.Now())
	return errors.Join(s.countRunning(), s.unlinkReleased(), s.pruneRunning(), s.enforce())
}

// lostToTruncation tells of segments that upstream deleted before anybody could
// keep them.
func (s *Store) lostToTruncation(lost []int) {
	s.mu.Lock()
	to := Position{Generation: s.current}
	to.Segment, _ = s.running().first()
	unread := to.Compare(s.released) > 0
	s.evicted = maxPosition(s.evicted, to)
	s.mu.Unlock()
	if unread {
		s.metrics.evicted.Add(float64(len(lost)))
		s.opts.OnEvict(to)
	}
	s.index.forget(s.current, lost...)
}

// Sync makes all that was written to the WAL so far survive a power cut.
func (s *Store) Sync() error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	begin := time.Now()
	s.findSegments()
	s.mu.Lock()
	g := s.running()
	var paths []string
	last := s.syncedTo
	for n := range g.segments {
		if seg := &g.segments[n]; seg.index >= s.syncedTo {
			paths = append(paths, s.pathOf(g, seg))
			last = seg.index
		}
	}
	s.mu.Unlock()
	if last > s.syncedTo || s.syncedTo == 0 {
		paths = append(paths, s.walDir, g.dir) // the names of new segments
	}
	for _, path := range paths {
		if err := syncPath(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.metrics.syncFailures.Inc()
			return fmt.Errorf("cannot sync %s: %w", filepath.Base(path), err)
		}
	}
	s.syncedTo = last
	s.metrics.syncs.Inc()
	s.metrics.syncDuration.Observe(time.Since(begin).Seconds())
	return nil
}

// noteDamage counts a damaged file once, however many readers come across it.
func (s *Store) noteDamage(name string, lost int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.noted[name]; ok {
		return
	}
	s.noted[name] = struct{}{}
	s.metrics.damaged.Inc()
	s.metrics.damagedBytes.Add(float64(max(lost, 0)))
}

func maxPosition(a, b Position) Position {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}

// logLimiter keeps what happens four times a second from filling the log: it
// appears once a minute.
type logLimiter struct {
	mu   sync.Mutex
	last map[string]time.Time
}

const logEvery = time.Minute

// allow says whether a key has not been allowed within the last minute.
func (l *logLimiter) allow(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if last, ok := l.last[key]; ok && now.Sub(last) < logEvery {
		return false
	}
	if l.last == nil {
		l.last = map[string]time.Time{}
	}
	l.last[key] = now
	return true
}

func (l *logLimiter) log(logger log.Logger, msg string, err error) {
	if l.allow(msg) {
		logger.Log("msg", msg, "err", err)
	}
}
