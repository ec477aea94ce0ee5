// Package delivery sees to it that every sample on disk reaches every
// destination or is accounted for. Each destination is either live, and served
// by upstream's queue manager, or behind, and served by a drainer that reads the
// backlog; handover.go tells how it goes from one to the other.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sort"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"golang.org/x/time/rate"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// stopGrace is what a request in flight gets when the agent stops.
const stopGrace = time.Second

// Options of New. All fields but MaxCatchUpRate and TypeAndUnitLabels are needed.
type Options struct {
	// Dir is the directory of wal/ and delivery.json.
	Dir   string
	Store *backlog.Store
	Saved Saved
	// ScrapeManager is where upstream takes metadata from.
	ScrapeManager remote.ReadyScrapeManager
	Logger        log.Logger
	Slogger       *slog.Logger

	MaxLiveLag time.Duration
	MinStay    time.Duration
	// SaveInterval is how often the marks are written; 0: only when a segment
	// is done with, and at the end.
	SaveInterval time.Duration
	// MaxCatchUpRate in samples a second; 0 means unbounded.
	MaxCatchUpRate    float64
	TypeAndUnitLabels bool
}

// Delivery owns upstream's remote storage and all destinations.
type Delivery struct {
	opts    Options
	store   *backlog.Store
	logger  log.Logger
	slogger *slog.Logger
	queues  *queues
	intake  *intake
	limiter *rate.Limiter
	failure chan error

	applyMtx sync.Mutex // serialises Apply and Close
	ctx      context.Context
	cancel   context.CancelFunc

	// saveMtx is held while marks are written, moved by eviction, or passed on
	// by Apply: what is written in between would lack destinations, and what
	// these still need would be released.
	saveMtx sync.Mutex

	mtx          sync.Mutex
	applied      bool // written by Apply only
	destinations map[string]*destination
	written      Saved
}

// New opens upstream's remote storage. Nothing is sent before Apply.
func New(o Options) (*Delivery, error) {
	d := &Delivery{
		opts:         o,
		store:        o.Store,
		logger:       o.Logger,
		slogger:      o.Slogger,
		failure:      make(chan error, 1),
		destinations: map[string]*destination{},
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	if o.MaxCatchUpRate > 0 {
		d.limiter = rate.NewLimiter(rate.Limit(o.MaxCatchUpRate), int(math.Max(o.MaxCatchUpRate, 10_000)))
	}
	d.intake = &intake{refusing: o.Store.Refusing, failed: d.fail}
	d.queues = newQueues(o)
	if err := d.countLast(); err != nil {
		level.Error(d.logger).Log("msg", "cannot count what was appended before the last stop", "err", err)
	}
	return d, nil
}

// countLast takes over the totals of the last run. After a crash, what was
// appended since they were written is counted on disk; without any totals,
// all that is there.
func (d *Delivery) countLast() error {
	s := d.opts.Saved
	d.intake.notAppended.Store(s.NotAppended)
	d.intake.appended.Store(s.Appended)
	start := backlog.Position{Generation: d.store.Generation()}
	from := s.Tail
	switch {
	case s.Lost:
		from = d.store.Oldest()
	case s.Clean || from.IsZero():
		return nil
	}
	n, err := d.store.Count(from, start)
	d.intake.appended.Store(s.Appended + n.Samples())
	return err
}

// Remote is upstream's remote storage, which agent.Open wants.
func (d *Delivery) Remote() *remote.Storage { return d.queues.storage }

// Notify implements wlog.WriteNotified: the WAL has been written to.
func (d *Delivery) Notify() {
	d.queues.storage.Notify()
	d.store.Notify()
}

// Appendable is where scrapes must append: it goes on to db and to upstream's
// remote storage.
func (d *Delivery) Appendable(db storage.Storage) storage.AppendableV2 {
	d.intake.next = storage.NewFanout(d.slogger, db, d.queues.storage)
	return d.intake
}

// Failure receives the error of a commit that failed. The run (scrape, DB,
// remote storage) must then be begun anew.
func (d *Delivery) Failure() <-chan error { return d.failure }

func (d *Delivery) fail(err error) {
	select {
	case d.failure <- fmt.Errorf("cannot commit to the WAL: %w", err):
	default:
	}
}

// Collectors returns upstream's metrics of the queues, and ours.
func (d *Delivery) Collectors() (prometheus.Gatherer, prometheus.Collector) {
	return d.queues, (*collector)(d)
}

// LastCommit is when samples were last committed; zero when never.
func (d *Delivery) LastCommit() time.Time {
	if last := d.intake.last.Load(); last != nil {
		return *last
	}
	return time.Time{}
}

// Evict is backlog's OnEvict. The marks are written before anything is deleted:
// after a crash, it could not be counted any more.
func (d *Delivery) Evict(to backlog.Position) {
	d.saveMtx.Lock()
	defer d.saveMtx.Unlock()
	for _, t := range d.all() {
		t.evict(to)
	}
	if err := d.save(false); err != nil {
		level.Error(d.logger).Log("msg", "cannot save the marks before an eviction", "err", err)
	}
}

// LiveSegment is backlog's LiveSegment: the lowest segment of wal/ that the
// watchers of all live queues have reached.
func (d *Delivery) LiveSegment() int {
	lowest := math.MaxInt
	for _, t := range d.all() {
		t.mtx.Lock()
		state, name := t.state, t.e.name
		t.mtx.Unlock()
		if state == Behind {
			continue
		}
		_, segment := d.queues.watcher(name)
		lowest = min(lowest, max(0, segment))
	}
	return lowest
}

// Run writes the marks and releases what no destination needs, until ctx ends.
func (d *Delivery) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		d.intake.rate()
		d.adjustLimit()
		due := d.opts.SaveInterval > 0 && time.Since(last) >= d.opts.SaveInterval
		if due || d.segmentDone() {
			if err := d.saveAndRelease(false); err != nil {
				level.Error(d.logger).Log("msg", "cannot save the marks", "err", err)
			}
			last = time.Now()
		}
	}
}

// adjustLimit keeps the catch-up rate at no less than twice the intake, or a
// backlog would never end.
func (d *Delivery) adjustLimit() {
	if d.limiter != nil {
		d.limiter.SetLimit(rate.Limit(math.Max(d.opts.MaxCatchUpRate, 2*d.intake.rate())))
	}
}

// throttle returns how long to wait before n items may be sent.
func (d *Delivery) throttle(n int) time.Duration {
	if d.limiter == nil {
		return 0
	}
	return d.limiter.ReserveN(time.Now(), min(n, d.limiter.Burst())).Delay()
}

// segmentDone tells whether every destination has left the segment that the
// written marks still keep.
func (d *Delivery) segmentDone() bool {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	if len(d.destinations) == 0 {
		return false
	}
	lowest, written := lowestMark(d.savedLocked()), lowestMark(d.written)
	return lowest.Generation > written.Generation || lowest.Segment > written.Segment
}

func lowestMark(s Saved) backlog.Position {
	var lowest backlog.Position
	for _, d := range s.Destinations {
		if lowest.IsZero() || d.Mark.Compare(lowest) < 0 {
			lowest = d.Mark
		}
	}
	return lowest
}

func (d *Delivery) savedLocked() Saved {
	s := Saved{Generation: d.store.Generation(), Destinations: map[string]SavedDestination{}}
	for name, t := range d.destinations {
		s.Destinations[name] = t.saved()
	}
	return s
}

// saveAndRelease writes delivery.json, and only then unlinks what lies before
// all marks in it: a crash must not find marks that point at nothing.
func (d *Delivery) saveAndRelease(clean bool) error {
	d.saveMtx.Lock()
	defer d.saveMtx.Unlock()
	if err := d.save(clean); err != nil {
		return err
	}
	d.mtx.Lock()
	applied, s := d.applied, d.written
	d.mtx.Unlock()
	if !applied {
		return nil
	}
	lowest := lowestMark(s)
	if len(s.Destinations) == 0 {
		lowest = s.Tail
	}
	// Not under d.mtx: the store calls Evict, which takes it, under its own lock.
	return d.store.Release(lowest)
}

// save writes delivery.json, but not before the first Apply: until then the
// destinations are not known, and what the file says of them must stay. Callers
// hold saveMtx.
func (d *Delivery) save(clean bool) error {
	d.mtx.Lock()
	applied, s := d.applied, d.savedLocked()
	d.mtx.Unlock()
	if !applied {
		return nil
	}
	s.Clean = clean
	s.Appended, s.NotAppended, s.Tail = d.intake.atRest(d.store.End)
	if err := save(d.opts.Dir, s); err != nil {
		return err
	}
	d.mtx.Lock()
	d.written = s
	d.mtx.Unlock()
	return nil
}

func (d *Delivery) all() []*destination {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	out := make([]*destination, 0, len(d.destinations))
	for _, t := range d.destinations {
		out = append(out, t)
	}
	return out
}

// Status of every destination, by name.
func (d *Delivery) Status() []Status {
	out := []Status{}
	for _, t := range d.all() {
		out = append(out, t.status())
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Alive returns an error when a destination's loop has made no step for longer
// than within and its request timeout.
func (d *Delivery) Alive(within time.Duration) error {
	var errs []error
	for _, t := range d.all() {
		errs = append(errs, t.alive(within))
	}
	return errors.Join(errs...)
}

// Close stops all destinations, each with a moment for what is in flight, and
// writes the marks. No samples may be appended any more.
func (d *Delivery) Close() error {
	d.applyMtx.Lock()
	defer d.applyMtx.Unlock()
	d.cancel()
	for _, t := range d.all() {
		<-t.done
	}
	return errors.Join(d.saveAndRelease(true), d.queues.close())
}
