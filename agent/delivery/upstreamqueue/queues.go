package upstreamqueue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage/remote"
)

// Options of Queues. Dir is needed.
type Options struct {
	// Dir holds the directory wal, which the queues read.
	Dir string
	// ScrapeManager is where queues that send metadata by themselves (remote
	// write 1.0) find it. Without one, they send none.
	ScrapeManager remote.ReadyScrapeManager
	// Logger gets upstream's log; nil means none.
	Logger *slog.Logger
	// TypeAndUnitLabels: metric type and unit are among the labels.
	TypeAndUnitLabels bool
}

// Queues are the destinations that upstream's queues send to. Every queue has a
// remote storage of upstream's to itself: queues start and stop independently of
// each other, and what upstream does to all queues of a storage at once (stop
// them one after the other, forget those that it cannot build a client for) has
// nobody else to meet.
type Queues struct {
	opts     Options
	idle     *remote.Storage
	registry *recorder // of idle

	mtx    sync.RWMutex // never held over anything that waits
	queues map[string]*Queue
	closed bool
}

// New returns no queues yet, and nothing is sent. It fails when upstream does
// not register the metrics that the queues are watched by.
func New(o Options) (*Queues, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	q := &Queues{opts: o, registry: newRecorder(), queues: map[string]*Queue{}}
	if err := checkAssumptions(o); err != nil {
		return nil, err
	}
	q.idle = newStorage(o, o.Logger, q.registry)
	return q, nil
}

// checkAssumptions looks for the metrics of upstream that are relied on and
// exist before a queue does. The others are looked for when one starts.
func checkAssumptions(o Options) error {
	r := newRecorder()
	s := newStorage(o, o.Logger, r)
	_, err := newWatcher(r.collectors(), "check", new(said))
	return errors.Join(err, s.Close())
}

// Idle returns a remote storage that never has a queue: for upstream's WAL
// storage, which wants one, and for a fan-out, so that it counts what comes in.
// Its LowestSentTimestamp is always 0, so that the age of what upstream
// truncates follows from MaxWALTime alone.
func (q *Queues) Idle() *remote.Storage { return q.idle }

// Start starts a queue: upstream tails the WAL from its last segment on and
// sends to the destination of cfg, with the external labels, from this moment
// on; o is told of every batch from before Start returns. It returns when the
// queue's watcher has begun, which takes a few milliseconds at most on an idle
// machine; an error means that no queue is left. It takes no lock while it waits.
//
// cfg must not change afterwards. It must have a name, one shard, and neither a
// sample age limit nor the conversion of custom buckets to classic histograms:
// what the queue sends could not be counted against the WAL.
func (q *Queues) Start(ctx context.Context, cfg *config.RemoteWriteConfig, external labels.Labels, o Observer) (*Queue, error) {
	if err := countable(cfg); err != nil {
		return nil, err
	}
	if o.Before == nil || o.After == nil {
		return nil, fmt.Errorf("queue %q has nobody to observe it", cfg.Name)
	}
	u, err := q.newQueue(cfg, external)
	if err != nil {
		return nil, err
	}
	if err := u.start(ctx, cfg, o); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start upstream's queue of %q: %w", cfg.Name, err), u.Stop())
	}
	return u, nil
}

// newQueue enters a queue into the list, as one that is starting.
func (q *Queues) newQueue(cfg *config.RemoteWriteConfig, external labels.Labels) (*Queue, error) {
	identity, err := identityOf(cfg)
	if err != nil {
		return nil, err
	}
	u := &Queue{queues: q, name: cfg.Name, external: external, identity: identity, registry: newRecorder()}
	u.forget = func() { q.remove(u) }
	q.mtx.Lock()
	defer q.mtx.Unlock()
	if q.closed {
		return nil, errors.New("the queues are closed")
	}
	if _, taken := q.queues[cfg.Name]; taken {
		return nil, fmt.Errorf("there is a queue of %q already", cfg.Name)
	}
	q.queues[cfg.Name] = u
	return u, nil
}

func (q *Queues) remove(u *Queue) {
	q.mtx.Lock()
	defer q.mtx.Unlock()
	if q.queues[u.name] == u {
		delete(q.queues, u.name)
	}
}

// Notify implements wlog.WriteNotified: the WAL has been written to. It waits
// for nothing, and least of all for a queue that is being stopped.
func (q *Queues) Notify() {
	q.mtx.RLock()
	defer q.mtx.RUnlock()
	for _, u := range q.queues {
		u.notify()
	}
}

// LowestSegment returns the lowest segment of wal/ that every live watcher has
// reached: none before it is read any more. It is 0 while a queue is starting,
// and math.MaxInt when there is none. A queue that is being stopped reads on,
// but needs nothing any more.
func (q *Queues) LowestSegment() int {
	q.mtx.RLock()
	defer q.mtx.RUnlock()
	lowest := math.MaxInt
	for _, u := range q.queues {
		if !u.live.Load() {
			return 0
		}
		lowest = min(lowest, max(0, u.Segment()))
	}
	return lowest
}

// Close ends what New began. Queues must have been stopped before: one that
// runs is an error, and runs on.
func (q *Queues) Close() error {
	q.mtx.Lock()
	left, closed := len(q.queues), q.closed
	q.closed = true
	q.mtx.Unlock()
	if closed {
		return nil
	}
	err := q.idle.Close()
	if left > 0 {
		err = errors.Join(err, fmt.Errorf("%d queues have not been stopped", left))
	}
	return err
}
