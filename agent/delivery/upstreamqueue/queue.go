package upstreamqueue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage/remote"
	"go.yaml.in/yaml/v2"
)

const (
	// watcherStart is how long a WAL watcher may take from its start to its
	// first record or segment.
	watcherStart = 5 * time.Second
	// firstPause and longestPause are between two looks at a watcher that is
	// starting: the sooner it is seen, the narrower are the bounds of its start.
	firstPause, longestPause = 50 * time.Microsecond, 5 * time.Millisecond
	// clockTolerance is what the wall clock may deviate from the monotonic one
	// during a start. More was a step; slewing makes microseconds of it.
	clockTolerance = time.Millisecond
)

// Queue is one destination that upstream sends to.
type Queue struct {
	queues   *Queues
	name     string
	external labels.Labels
	identity string // see identityOf
	forget   func() // takes the queue off the list of queues
	registry *recorder

	// Set by start, and not changed afterwards.
	storage                  *remote.Storage
	watcher                  *watcher
	unknown                  []prometheus.Counter
	notSentUpTo, sentIfAfter int64
	stopObserving            func()

	// taken: the next request is made with the entry that was taken over just now.
	taken atomic.Bool

	// live is set when the watcher has begun.
	live atomic.Bool

	// mtx is held while upstream's storage is changed, shared while it is notified.
	mtx     sync.RWMutex
	running bool                      // the storage has the queue, and is not being closed
	cfg     *config.RemoteWriteConfig // what it has of the entry

	stop    sync.Once
	stopErr error
}

// start starts the queue and waits for its watcher. What it leaves behind on
// error is for Stop.
func (u *Queue) start(ctx context.Context, cfg *config.RemoteWriteConfig, o Observer) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if o.Entry != nil {
		o.take = func(ctx context.Context) error { return u.take(ctx, o.Entry) }
	}
	if u.stopObserving, err = observe(keyOf(cfg), o); err != nil {
		return err
	}
	said := new(said)
	opts := u.queues.opts
	u.storage = newStorage(opts, slog.New(listener{opts.Logger.Handler(), said}), u.registry)
	if u.watcher, err = newWatcher(u.registry.collectors(), u.name, said); err != nil {
		return err
	}
	if err := u.apply(cfg); err != nil {
		return err
	}
	seen := u.registry.collectors()
	if u.unknown, err = unknownSeriesOf(seen); err != nil {
		return err
	}
	// A queue registers its metrics just before its watcher takes the time.
	if err := u.awaitWatcher(ctx, seen[samplesDropped].at); err != nil {
		return err
	}
	u.live.Store(true)
	u.notify()
	return nil
}

// apply gives cfg to upstream.
func (u *Queue) apply(cfg *config.RemoteWriteConfig) error {
	u.mtx.Lock()
	defer u.mtx.Unlock()
	err := u.storage.ApplyConfig(u.config(cfg))
	u.running, u.cfg = err == nil, cfg
	return err
}

// config is what upstream gets of a configuration.
func (u *Queue) config(cfg *config.RemoteWriteConfig) *config.Config {
	return &config.Config{
		GlobalConfig:       config.GlobalConfig{ExternalLabels: u.external},
		RemoteWriteConfigs: []*config.RemoteWriteConfig{cfg},
	}
}

// awaitWatcher waits until the queue's watcher has begun, and takes the bounds
// of its start: it was not before the given time.
func (u *Queue) awaitWatcher(ctx context.Context, notBefore time.Time) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, watcherStart, fmt.Errorf("its WAL watcher has not begun within %s", watcherStart))
	defer cancel()
	for pause := firstPause; !u.watcher.begun(); pause = min(2*pause, longestPause) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
	notAfter := time.Now()
	// What the watcher logs is closer to its start, on a busy machine by far.
	if t := u.watcher.said.starting.Load(); t != nil && t.After(notBefore) {
		notBefore = *t
	}
	if t := u.watcher.said.replaying.Load(); t != nil && t.After(notBefore) && t.Before(notAfter) {
		notAfter = *t
	}
	u.notSentUpTo, u.sentIfAfter, err = bounds(notBefore.Round(0), notAfter.Round(0), notAfter.Sub(notBefore))
	return err
}

// bounds returns, in milliseconds, two times that hold whatever the wall clock
// said between two readings of it. If it was set meanwhile, it may have said
// anything, and samples with a time outside of the bounds could be sent by nobody.
func bounds(before, after time.Time, monotonic time.Duration) (lower, upper int64, err error) {
	deviation := (after.Sub(before) - monotonic).Abs()
	if deviation > clockTolerance {
		return 0, 0, fmt.Errorf("the clock was set by %s at that moment", deviation)
	}
	return before.Add(-deviation).UnixMilli(), after.Add(deviation).UnixMilli(), nil
}

// StartBounds returns two times in milliseconds between which the queue's
// watcher took its start time. For the life of the queue, a sample with
// T <= notSentUpTo is never sent by it, and one with T > sentIfAfter is. What
// lies between may be sent or not.
func (u *Queue) StartBounds() (notSentUpTo, sentIfAfter int64) {
	return u.notSentUpTo, u.sentIfAfter
}

// Segment returns the segment that the queue's watcher is in, and -1 before it
// has entered one. Segment 0 is empty (CreateFirstSegment) and does not count.
func (u *Queue) Segment() int { return u.watcher.segment() }

// BegunAgain reports whether the queue's watcher has failed or begun again
// after a failure. It begins at now then: what it skips would be taken for
// acknowledged with the first batch of what comes after. So the observer must
// ask before it lets a batch go, and stop the queue at true, which stays.
func (u *Queue) BegunAgain() bool { return u.watcher.begunAgain() }

// UnknownSeries returns how many samples, histograms and exemplars the queue has
// dropped because it did not know their series. It must stay 0: they are counted
// as items of the queue by who reads the WAL.
func (u *Queue) UnknownSeries() float64 {
	var n float64
	for _, c := range u.unknown {
		n += valueOf(c)
	}
	return n
}

// renew gives the queue a client with the secrets of cfg; files that cfg names
// are read again. The queue goes on. It refuses a cfg that differs in anything
// but secrets, as upstream would begin a new queue, unseen by who follows this
// one. On any error the queue goes on with the client that it has. A queue that
// has been stopped ignores it.
func (u *Queue) renew(cfg *config.RemoteWriteConfig) error {
	if err := countable(cfg); err != nil {
		return err
	}
	identity, err := identityOf(cfg)
	if err != nil {
		return err
	}
	if identity != u.identity {
		return fmt.Errorf("queue %q: %w", u.name, errOther)
	}
	if err := u.refresh(cfg); err != nil {
		return fmt.Errorf("cannot refresh the client of %q: %w", u.name, err)
	}
	u.notify() // what came meanwhile was not
	return nil
}

func (u *Queue) refresh(cfg *config.RemoteWriteConfig) error {
	u.mtx.Lock()
	defer u.mtx.Unlock()
	if !u.running {
		return nil
	}
	if err := u.storage.ApplyConfig(u.config(cfg)); err != nil {
		return err
	}
	u.cfg = cfg
	return nil
}

var (
	// errTaken: the queue has taken over an entry, and the request that was about to be
	// made has the client of the one before.
	errTaken = errors.New("the entry has changed")
	// errOther: upstream would begin another queue.
	errOther = errors.New("the queue cannot go on with another configuration")
)

// take has the queue go on with the entry of this moment. It is called by the queue
// itself, before a request; nil: the request can be made.
func (u *Queue) take(ctx context.Context, entry func(context.Context) (*config.RemoteWriteConfig, error)) error {
	if u.taken.Swap(false) {
		// Asked again, an entry whose token is worth one request only would have
		// changed again, and nothing would ever be sent.
		return nil
	}
	cfg, err := entry(ctx)
	if err != nil {
		return err
	}
	u.mtx.RLock()
	same := cfg == u.cfg
	u.mtx.RUnlock()
	if same {
		return nil
	}
	if err := u.renew(cfg); err != nil {
		return err
	}
	u.taken.Store(true)
	return errTaken
}

// notify tells the queue's watcher that the WAL has been written to, unless the
// queue is being refreshed or stopped. It does not wait.
func (u *Queue) notify() {
	if !u.mtx.TryRLock() {
		return
	}
	defer u.mtx.RUnlock()
	if u.running {
		u.storage.Notify()
	}
}

// Stop stops the queue and returns when nothing is sent by it any more, and its
// observer will not be called again. Upstream flushes for half a second, then
// the contexts of the observer end. When a queue is full, its watcher may sleep
// for up to max_backoff after that. Calls after the first wait for it, and
// return the same.
func (u *Queue) Stop() error {
	u.stop.Do(func() {
		u.forget()
		u.mtx.Lock()
		u.running = false
		u.mtx.Unlock()
		if u.storage != nil {
			u.stopErr = u.storage.Close()
		}
		if u.stopObserving != nil {
			u.stopObserving()
		}
	})
	return u.stopErr
}

// identityOf is what upstream tells queues apart by, its own marshalling of the
// entry (storage/remote: toHash), in which secrets are all the same; and the
// URL, of which upstream hides the password there: by the whole URL a queue's
// batches are told from others.
func identityOf(cfg *config.RemoteWriteConfig) (string, error) {
	b, err := yaml.Marshal(cfg)
	if err != nil {
		return "", fmt.Errorf("cannot compare configurations: %w", err)
	}
	return cfg.URL.String() + "\n" + string(b), nil
}
