package backlog

import (
	"context"
	"sync"
	"time"

	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/pulse"
)

const (
	// lookInterval is how often it is looked whether the directory is still there, and
	// whether others have changed anything in it or fill up the file system.
	lookInterval = time.Second
	// closeLookInterval is the same where the free space is running out. Nobody appends
	// either on what was found longer ago.
	closeLookInterval = 250 * time.Millisecond
	// sweepInterval is how often everything is looked at although nothing seems to have
	// changed.
	sweepInterval = 15 * time.Second
)

// Run keeps the backlog in order until the context ends: links, budget, syncs. It
// returns nil then, or ErrVanished; Close is still to be called.
func (s *Store) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.syncLoop(ctx) })
	defer wg.Wait()
	defer cancel()
	for asked := true; ; {
		if err := s.Vanished(); err != nil {
			return err
		}
		if asked || s.sweepDue(time.Now()) {
			if err := s.Sweep(); err != nil {
				s.limit.log(level.Error(s.logger), "Sweep failed", err)
			}
		}
		timer := time.NewTimer(pulse.Next(lookAgain(s.room.last(), s.room.refusing.Load())))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
			asked = false
		case <-s.wakeSweep:
			asked = true
		}
		timer.Stop()
	}
}

// lookAgain is how often to look at the free space that there is. Whoever appends looks
// for himself, so this is only about making room in time, and about accepting samples
// again: with twice the floor or more, a second is soon enough.
func lookAgain(u Usage, refusing bool) time.Duration {
	if refusing || u.FreeBytes/2 < u.MinFreeBytes {
		return closeLookInterval
	}
	return lookInterval
}

// sweepDue reports whether there is, or may be, something for a sweep to do.
func (s *Store) sweepDue(now time.Time) bool {
	if s.evictor.meter.pressed() || s.committed.Load() || s.Unwritable() != nil {
		return true
	}
	s.op.Lock()
	defer s.op.Unlock()
	return now.Sub(s.swept) >= sweepInterval || !s.linker.isAsListed() || s.evictor.meter.strays
}

// syncLoop is apart from the sweeps because a sync may take seconds on a bad disk,
// and the budget must not wait for it.
func (s *Store) syncLoop(ctx context.Context) {
	if s.syncer.interval <= 0 {
		return
	}
	for pulse.Wait(ctx, min(s.syncer.interval, lookInterval)) {
		if !s.syncer.due(time.Now(), s.End) {
			continue
		}
		if err := s.Sync(); err != nil {
			s.limit.log(level.Error(s.logger), "Sync of the WAL failed", err)
		}
	}
}

// SyncWritten is Sync where syncs are wanted, and something was written since the last.
func (s *Store) SyncWritten() error {
	if s.syncer.interval <= 0 || !s.syncer.wrote.Load() {
		return nil
	}
	return s.Sync()
}

// MayAppend reports whether what a scrape has may be appended: not while Refusing, nor
// when others have filled the file system a moment ago. With so little left, what is
// written could end in the middle of a record.
func (s *Store) MayAppend() bool {
	if !s.Refusing() && s.evictor.meter.lookedBefore(closeLookInterval) && s.evictor.meter.pressed() {
		s.wake()
		if u := s.room.last(); u.FreeBytes < u.MinFreeBytes/2 {
			s.room.refusing.Store(true) // the sweep decides anew
		}
	}
	return !s.Refusing()
}
