package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-kit/log/level"
	agentdb "github.com/prometheus/prometheus/tsdb/agent"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/upstreamqueue"
)

// errWritableAgain ends a run in which nothing could be written.
var errWritableAgain = errors.New("the storage can be written again")

// tryInterval is how often a run in which nothing can be written tries to.
const tryInterval = 2 * time.Second

// openWAL opens upstream's storage. Where that cannot be done, the run goes on
// without: what is on disk is delivered, which may be what makes room, and scrapes
// are refused and counted.
func (r *run) openWAL() {
	o := r.agent.opts
	if r.store.Unwritable() != nil {
		return
	}
	err := upstreamqueue.CreateFirstSegment(o.StoragePath)
	if err == nil {
		r.db, err = agentdb.Open(r.agent.slogger.With("component", "wal"), r.reg, r.delivery.Remote(), o.StoragePath, walOptions(o, r.store.SegmentSize()))
	}
	if err != nil {
		r.db = nil
		r.store.GiveUp(fmt.Errorf("cannot open the WAL: %w", err))
		return
	}
	// Without this, upstream's queues poll every 15 s.
	r.db.SetWriteNotified(r.delivery)
}

// awaitWritable returns errWritableAgain when it is time to open the storage anew,
// and nil when ctx ends.
func (r *run) awaitWritable(ctx context.Context) error {
	tick := time.NewTicker(tryInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if r.store.TryWrite() == nil {
			return errWritableAgain
		}
	}
}

// tellUnwritable logs when an episode in which nothing can be written begins and
// ends. why is of the run that begins; nil: it can write.
func (a *Agent) tellUnwritable(why error) {
	was := a.unwritable
	a.unwritable = why != nil
	switch {
	case why != nil && !was:
		level.Error(a.opts.Logger).Log("msg", "The storage cannot be written: what is on disk is delivered, new samples are refused and counted until it can", "err", why)
	case why == nil && was:
		level.Info(a.opts.Logger).Log("msg", "The storage can be written again: new samples are accepted")
	}
}

// openingFailed says what is to be done about a storage that cannot be opened at all.
// What could be used before, or may have been, is tried again.
func openingFailed(err error, before bool) error {
	if errors.Is(err, backlog.ErrHeld) || errors.Is(err, backlog.ErrUnusable) && !before {
		return err
	}
	return fmt.Errorf("%w: %w", errBeginAnew, err)
}
