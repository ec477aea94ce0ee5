// Package delivery sees to it that every sample on disk reaches every
// destination or is accounted for. Each destination is either live, and served
// by upstream's queue manager, or behind, and served by a drainer that reads the
// backlog. machine.go and transitions.go say when it is what; handover.go tells
// how it goes from one to the other.
//
// # Locks
//
// In the order in which they are taken:
//
//	Delivery.applyMtx    serialises Apply and Close
//	marks.mtx            while marks are written, moved by eviction, or passed on; a
//	                     destination gives up waiting for it when it is to end
//	intake.commits       held by every commit; exclusively for a moment at rest
//	follower.mtx         what a queue is expected to send
//	Delivery.mtx, marks.writtenMtx, destination.mtx, the ledger's: memory only,
//	                     each the last one
//
// Nobody reads a disk or waits for an endpoint under the last three lines, which
// status, metrics and the watchdog take.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/upstreamqueue"
	"github.com/opstrace/opstrace-agent/agent/limits"
	"github.com/opstrace/opstrace-agent/agent/pulse"
)

// Options of New. All fields but SameProcess, ForgetAfter, GiveUpRefused, MaxCatchUpRate and TypeAndUnitLabels are needed.
type Options struct {
	// Dir is the directory of wal/ and delivery.json.
	Dir   string
	Store *backlog.Store
	Saved ledger.File
	// SameProcess: so was the run that has written it, a moment ago, whatever the clock says.
	SameProcess bool
	// ScrapeManager is where upstream takes metadata from.
	ScrapeManager remote.ReadyScrapeManager
	Logger        log.Logger
	Slogger       *slog.Logger

	MaxLiveLag time.Duration
	MinStay    time.Duration
	// SaveInterval is how often the marks are written, or a tenth as often while
	// everything is delivered; 0: only when a segment is done with, and at the end.
	SaveInterval time.Duration
	// ForgetAfter is how long what belongs to a destination is kept that is gone from
	// the configuration. 0: it is dropped at once.
	ForgetAfter time.Duration
	// GiveUpRefused are the names of destinations whose refusals are not waited for:
	// see remotewrite.Endpoint.GiveUp.
	GiveUpRefused []string
	// MaxCatchUpRate in samples a second; 0 means unbounded.
	MaxCatchUpRate    float64
	TypeAndUnitLabels bool
	// Limits of series. All must be set, but for MaxSeries: 0 means no ceiling.
	Limits limits.Limits
}

// Delivery owns upstream's queues and all destinations.
type Delivery struct {
	*shared

	opts    Options
	marks   *marks
	failure chan error
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc

	ignoreBodies func() // ends what tells of the answers of targets

	applyMtx sync.Mutex

	mtx          sync.Mutex
	destinations map[string]*destination
}

// New prepares upstream's queues. Nothing is sent before Apply. It fails when
// upstream is not what is relied on.
func New(o Options) (*Delivery, error) {
	queues, err := upstreamqueue.New(upstreamqueue.Options{
		Dir: o.Dir, ScrapeManager: o.ScrapeManager, Logger: o.Slogger, TypeAndUnitLabels: o.TypeAndUnitLabels,
	})
	if err != nil {
		return nil, err
	}
	book := ledger.NewBook(o.Store.Generation(), o.Saved.NotAppended)
	d := &Delivery{
		shared: &shared{
			store: o.Store, queues: queues, book: book, gone: &absences{},
			catchUp: newCatchUpRate(o.MaxCatchUpRate), memory: newMemory(o.Logger, memoryInUse),
			logger: o.Logger, slogger: o.Slogger,
			maxLiveLag: o.MaxLiveLag, minStay: o.MinStay, typeAndUnitLabels: o.TypeAndUnitLabels,
		},
		opts:         o,
		failure:      make(chan error, 1),
		destinations: map[string]*destination{},
	}
	d.intake = &intake{
		book: book, mayAppend: o.Store.MayAppend, failed: d.fail, generation: o.Store.Generation(),
		newcomers: &newcomers{limits: o.Limits, drops: newDrops(o.Logger), memory: d.memory},
	}
	d.marks = &marks{shared: d.shared, dir: o.Dir, mtx: newTurn(), latest: o.Saved.Written, held: o.Saved.Written}
	d.overtaken.Store(&o.Saved.Overtaken)
	if d.crashed() {
		d.readTimes()
	}
	d.saveMarks = d.marks.save
	d.marks.forgotten.Store(o.Saved.Forgotten)
	if o.Saved.Unwritten {
		d.marks.unwritten, d.marks.held = &o.Saved, o.Saved.Held
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.ignoreBodies = upstreamqueue.ObserveBodies(func(target *scrape.Target, bytes uint64) {
		d.intake.sizes.noteBody(target, bytes, time.Now())
	})
	return d, nil
}

// recoverCount counts what was appended after the marks had been written last:
// after a crash what came behind them, without any marks all that is there; and
// for a destination of which an earlier run had not finished counting, all that
// lies behind its mark. Scraping and delivery do not wait for it, and may even be
// faster; until it is done, the ledgers say that they are counting. It is called
// at the first Apply, with the marks of the destinations then.
func (d *Delivery) recoverCount(unfinished map[string]backlog.Position) {
	for name, mark := range unfinished {
		n := d.count(mark)
		// A reload may have closed the account and opened it anew meanwhile.
		if account, ok := d.book.Accounts()[name]; ok {
			account.Recovered(n)
		}
	}
	switch {
	case d.opts.Saved.Lost:
		d.book.Recovered(d.count(d.store.Oldest()))
	case d.crashed():
		d.book.Recovered(d.count(d.opts.Saved.Tail))
	}
}

// crashed reports whether the run before did not end in order, or could not write
// so: then its marks are those of a run before it.
func (d *Delivery) crashed() bool {
	return !d.opts.Saved.Clean || d.opts.Saved.Generation < d.store.Generation()-1
}

// Crashed reports whether there was a run before this one that did not end in order.
func (d *Delivery) Crashed() bool { return d.store.Generation() > 1 && d.crashed() }

// count returns the samples of earlier runs on disk from a position on.
func (d *Delivery) count(from backlog.Position) uint64 {
	n, err := d.store.Count(from, backlog.Position{Generation: d.store.Generation()})
	if err != nil && !errors.Is(err, os.ErrClosed) {
		level.Error(d.logger).Log("msg", "Cannot count what was appended before the last stop", "err", err)
	}
	return n.Samples()
}

// Remote is upstream's remote storage, which agent.Open wants. It has no queues.
func (d *Delivery) Remote() *remote.Storage { return d.queues.Idle() }

// Notify implements wlog.WriteNotified: the WAL has been written to.
func (d *Delivery) Notify() {
	d.queues.Notify()
	d.store.Notify()
}

// Appendable is where scrapes must append: it goes on to db, which has registered
// with reg, and to upstream's remote storage. It fails when upstream is not what
// is relied on.
func (d *Delivery) Appendable(db storage.Storage, reg prometheus.Registerer) (storage.AppendableV2, error) {
	if d.store.Unwritable() != nil {
		return d.intake, nil // which refuses all: there is no db
	}
	if err := d.intake.newcomers.meet(db, reg); err != nil {
		return nil, err
	}
	d.intake.next = storage.NewFanout(d.slogger, db, d.queues.Idle())
	return d.intake, nil
}

// Dropping reports whether samples are being dropped because of a limit, or were a
// few minutes ago.
func (d *Delivery) Dropping() bool { return d.intake.newcomers.drops.going() }

// Limits that are in force, and what they drop.
func (d *Delivery) Limits() LimitsStatus { return d.intake.newcomers.status() }

// Pressure is how near the memory's limit is.
func (d *Delivery) Pressure() Pressure { return d.memory.now() }

// PressureChanged has something when Pressure may have changed. It is for one reader.
func (d *Delivery) PressureChanged() <-chan struct{} { return d.memory.changed }

// LastScrape is how many samples a target had when it was scraped last; 0 when it was
// not, or long ago.
func (d *Delivery) LastScrape(target *scrape.Target) uint64 { return d.intake.sizes.of(target).samples }

// LastBody is how many bytes a target answered when it was scraped last, not compressed;
// 0 when it did not answer, or long ago.
func (d *Delivery) LastBody(target *scrape.Target) uint64 { return d.intake.sizes.of(target).bytes }

// Failure receives the error of a commit or a sync that failed. The run (scrape, DB,
// remote storage) must then be begun anew.
func (d *Delivery) Failure() <-chan error { return d.failure }

func (d *Delivery) fail(err error) { d.end(fmt.Errorf("cannot commit to the WAL: %w", err)) }

// Unsynced ends the run for a sync that failed. Nothing more is committed in it.
func (d *Delivery) Unsynced(err error) {
	d.intake.broken.Store(true)
	d.end(fmt.Errorf("cannot sync the WAL: %w", err))
}

func (d *Delivery) end(why error) {
	select {
	case d.failure <- why:
	default:
	}
}

// Collectors returns upstream's metrics of the queues, and ours.
func (d *Delivery) Collectors() (prometheus.Gatherer, prometheus.Collector) {
	return d.queues, collector{d.Status, d.Limits, d.Kept, d.Forgotten}
}

// LastCommit is when samples were last committed; zero when never.
func (d *Delivery) LastCommit() time.Time { return d.intake.lastCommit() }

// Evict is backlog's OnEvict: it counts for every destination what is about to be
// deleted.
func (d *Delivery) Evict(to backlog.Position) { d.marks.evict(to) }

// LiveSegment is backlog's LiveSegment: the lowest segment of wal/ that the
// watchers of all live queues have reached.
func (d *Delivery) LiveSegment() int { return d.queues.LowestSegment() }

// Delivered is backlog's Delivered: the position before which no destination needs
// anything any more.
func (d *Delivery) Delivered() backlog.Position { return d.marks.delivered() }

// Run writes the marks and releases what no destination needs, until ctx ends.
func (d *Delivery) Run(ctx context.Context) error {
	saves := saves{interval: d.opts.SaveInterval, last: time.Now()}
	failing := false // logged once in an episode
	for pulse.Wait(ctx, time.Second) {
		d.memory.look(time.Now())
		d.intake.newcomers.drops.tick(time.Now())
		d.catchUp.follow(d.intake.appendedPerSecond())
		d.forgetExpired(time.Now())
		if now := time.Now(); saves.due(now, d.notable, d.waits) || d.marks.segmentDone() {
			saves.did(now, d.notable())
			err := d.marks.saveAndRelease(false)
			switch {
			case errors.Is(err, backlog.ErrVanished): // ends the run, which tells why
			case err != nil && !failing:
				level.Error(d.logger).Log("msg", "Cannot save the marks, trying again until they can be", "err", err)
			case err == nil && failing:
				level.Info(d.logger).Log("msg", "The marks are saved again")
			}
			failing = err != nil
		}
	}
	return nil
}

// notable returns what the marks have to tell.
func (d *Delivery) notable() notable {
	is := notable{terms: d.book.Terms()}
	live := 0
	for _, t := range d.all() {
		if t.isLive() {
			live++
		}
	}
	is.allLive = live == len(is.terms)
	for name, terms := range is.terms {
		terms.Appended, terms.Delivered, terms.OnDisk, terms.Filtered = 0, 0, 0, nil
		is.terms[name] = terms
	}
	return is
}

// waits reports whether anything on disk waits to be delivered.
func (d *Delivery) waits() bool { return d.marks.delivered().Compare(d.store.End()) < 0 }

// all destinations, by name.
func (d *Delivery) all() []*destination {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	out := make([]*destination, 0, len(d.destinations))
	for _, t := range d.destinations {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *destination) int { return strings.Compare(a.name, b.name) })
	return out
}

// Status of every destination, by name. The ledgers are of one moment.
func (d *Delivery) Status() []Status {
	out := []Status{}
	terms := d.book.Terms()
	intake := d.intake.appendedPerSecond()
	for _, t := range d.all() {
		if ledger, ok := terms[t.name]; ok {
			out = append(out, t.status(ledger, intake))
		}
	}
	return out
}

// Forgotten is how many samples were dropped with the destinations that they were
// kept for, since the storage directory was created.
func (d *Delivery) Forgotten() uint64 { return d.marks.forgotten.Load() }

// Alive returns an error when a destination's loop has made no step for longer
// than within and its request timeout.
func (d *Delivery) Alive(within time.Duration) error {
	var errs []error
	for _, t := range d.all() {
		errs = append(errs, t.alive(within))
	}
	return errors.Join(errs...)
}

// Unwritten returns what delivery.json should hold after Close, if that could not be
// written: the next run in this process is to be given it as Options.Saved. Else nil.
func (d *Delivery) Unwritten() *ledger.File {
	d.marks.mtx.Lock()
	defer d.marks.mtx.Unlock()
	return d.marks.unwritten
}

// Close stops all destinations at once, each with a moment for what is in flight,
// and writes the marks. Samples that are appended all the same, by a scrape that
// could not be ended, are not taken: nobody could count them.
func (d *Delivery) Close() error {
	d.applyMtx.Lock()
	defer d.applyMtx.Unlock()
	d.ignoreBodies()
	d.intake.close()
	d.cancel()
	for _, t := range d.all() {
		<-t.done
	}
	return errors.Join(d.marks.saveAndRelease(true), d.queues.Close())
}
