package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	oklog "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	agentdb "github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

type metrics = []*dto.MetricFamily

// run is one generation of the storage with everything that writes to it and
// reads from it. It has registries of its own, because upstream does not
// unregister all of its metrics.
type run struct {
	agent    *Agent
	reg      *prometheus.Registry
	gatherer prometheus.Gatherer // of everything that this run registered
	store    *backlog.Store
	delivery *delivery.Delivery
	db       *agentdb.DB

	appendable      storage.AppendableV2
	scrape          *scrape.Manager
	discovery       *discovery.Manager
	cancelDiscovery context.CancelFunc
	fixed           *fixedTargets
	discovers       chan struct{} // closed when there is something to discover
	discover        func()        // closes it
	targetLimit     *targetLimit
	skips           *skips
	pace            pace
	stopped         []StoppedJob                   // guarded by agent.mtx
	missing         []MissingLog                   // guarded by agent.mtx
	untraced        bool                           // the tracing of the configuration cannot be begun; guarded by agent.applyMtx
	clockBroken     <-chan string                  // why the run must be begun anew
	longestAnswer   atomic.Int64                   // of a target, in nanoseconds
	scrapeClient    []config_util.HTTPClientOption // see scrapeClient
}

// Get implements upstream's remote.ReadyScrapeManager.
func (r *run) Get() (*scrape.Manager, error) {
	if r.scrape == nil {
		return nil, errors.New("the scrape manager is not ready")
	}
	return r.scrape, nil
}

// runOnce opens a run, drives it until ctx ends or it fails, and closes it.
func (a *Agent) runOnce(ctx context.Context) (err error) {
	a.usesDisk.Store(true)
	defer a.usesDisk.Store(false)
	r := &run{agent: a, reg: prometheus.NewRegistry(), skips: newSkips(a.opts.Logger)}
	if err := r.openStorage(); err != nil {
		return openingFailed(err, a.opened)
	}
	if !a.opened && r.delivery.Crashed() {
		a.judge.noteUnclean()
	}
	a.opened = true
	a.tellUnwritable(r.store.Unwritable())
	defer func() {
		closing := r.close(ctx)
		if !errors.Is(err, backlog.ErrVanished) { // else it says the same again
			err = errors.Join(err, closing)
		}
	}()
	r.awaitClock(ctx, r.delivery.Latest())
	if ctx.Err() != nil {
		return nil
	}
	restore := alignment(time.Now())
	if err := r.openScraping(); err != nil {
		restore()
		return err
	}
	var g oklog.Group
	r.addActors(ctx, &g)
	err = g.Run()
	a.finish()
	if r.stopScraping(ctx, errors.Is(err, errClockSet)) {
		restore()
	}
	return err
}

// openStorage opens backlog, delivery and WAL, in this order. On error it
// leaves nothing open. That nothing can be written is no error: see openWAL.
func (r *run) openStorage() (err error) {
	o := r.agent.opts
	if err := os.MkdirAll(o.StoragePath, 0o750); err != nil {
		return fmt.Errorf("%w: %w", backlog.ErrUnusable, err)
	}
	saved, lost := r.agent.marks()
	defer func() {
		if err != nil {
			err = errors.Join(err, r.closeStorage())
		}
	}()
	r.store, err = backlog.Open(backlog.Options{
		Dir:           o.StoragePath,
		MinGeneration: saved.Generation + 1,
		MaxBytes:      o.BacklogMaxBytes,
		MinFreeBytes:  o.MinFreeBytes,
		SyncInterval:  o.SyncInterval,
		SegmentSize:   o.SegmentSize,
		Logger:        o.Logger,
		Registerer:    r.reg,
		OnEvict:       func(to backlog.Position) { r.delivery.Evict(to) },
		LiveSegment:   func() int { return r.delivery.LiveSegment() },
		Delivered:     func() backlog.Position { return r.delivery.Delivered() },
	})
	if err != nil {
		return err
	}
	if lost != nil { // not before: of a directory that cannot be read, nothing is lost
		level.Error(o.Logger).Log("msg", "The marks are lost; everything on disk is sent, some of it again", "err", lost)
	}
	r.delivery, err = delivery.New(delivery.Options{
		Dir:               o.StoragePath,
		Store:             r.store,
		Saved:             saved,
		SameProcess:       r.agent.opened,
		ScrapeManager:     r,
		Logger:            log.With(o.Logger, "component", "delivery"),
		Slogger:           r.agent.slogger.With("component", "remote"),
		MaxLiveLag:        o.MaxLiveLag,
		MinStay:           o.MinStay,
		SaveInterval:      o.SyncInterval,
		ForgetAfter:       max(0, o.ForgetAfter),
		GiveUpRefused:     o.GiveUpRefused,
		MaxCatchUpRate:    o.MaxCatchUpRate,
		TypeAndUnitLabels: o.Features.TypeAndUnitLabels,
		Limits:            o.Limits,
	})
	if err != nil {
		return err
	}
	if r.gatherer, err = r.gatherers(); err != nil {
		return err
	}
	r.openWAL()
	return nil
}

// gatherers of everything that this run registers. Delivery's own metrics have a
// registry to themselves: r.reg is asked for single metrics as well.
func (r *run) gatherers() (prometheus.Gatherer, error) {
	queues, delivery := r.delivery.Collectors()
	reg := prometheus.NewRegistry()
	if err := reg.Register(delivery); err != nil {
		return nil, fmt.Errorf("cannot register the metrics of delivery: %w", err)
	}
	if err := reg.Register(r.stoppedGauge()); err != nil {
		return nil, fmt.Errorf("cannot register the metric of stopped jobs: %w", err)
	}
	r.fixed = newFixedTargets()
	if err := reg.Register(r.fixed.discovered); err != nil {
		return nil, fmt.Errorf("cannot register the metric of targets: %w", err)
	}
	if err := reg.Register(r.skips); err != nil {
		return nil, fmt.Errorf("cannot register the metrics of skipped targets: %w", err)
	}
	return prometheus.Gatherers{r.reg, queues, reg}, nil
}

// retention is how long upstream keeps a series without samples: longer than
// the slowest scrape interval and the age of explicit timestamps, because a
// series that is collected too early forgets its last timestamp.
const retention = time.Hour

// stripes of the series map: enough for tens of thousands of series. Upstream's
// default of 16,384 costs megabytes.
const stripes = 512

func walOptions(o Options, segmentSize int) *agentdb.Options {
	opts := agentdb.DefaultOptions()
	opts.WALSegmentSize = segmentSize
	opts.WALCompression = cmp.Or(o.WALCompression, compression.Snappy)
	opts.StripeSize = stripes
	opts.TruncateFrequency = o.TruncateInterval
	opts.MinWALTime = retention.Milliseconds()
	opts.MaxWALTime = retention.Milliseconds()
	// The backlog holds the lock.
	opts.NoLockfile = true
	// Upstream's other checkpoints read all that they replace.
	opts.CheckpointFromInMemorySeries = true
	opts.EnableSTStorage = o.Features.STStorage
	opts.EnableMetadataWALRecords = o.Features.MetadataWALRecords
	return opts
}

// discoveryName is the label that upstream's metrics of the discovery of targets have.
const discoveryName = "scrape"

// openScraping builds the scrape and discovery managers.
func (r *run) openScraping() error {
	var err error
	if r.appendable, err = r.delivery.Appendable(r.db, r.reg); err != nil {
		return fmt.Errorf("cannot limit series: %w", err)
	}
	r.scrapeClient = r.agent.scrapeClient(func() time.Duration { return time.Duration(r.longestAnswer.Load()) })
	logger := slog.New(newScrapeLog(r.agent.slogger.Handler(), r.delivery.Dropping))
	o := r.agent.opts.Features.ScrapeOptions()
	o.PassMetadataInContext = true // so that appends tell whose they are
	o.DiscoveryReloadInterval = model.Duration(r.agent.opts.DiscoveryReloadInterval)
	o.DiscoveryReloadOnStartup = true // else the first scrape waits for 5 s
	o.FeatureRegistry = r.agent.features
	o.HTTPClientOptions = r.scrapeClient
	r.scrape, err = scrape.NewManager(&o, logger.With("component", "scrape"), openFailureLog, nil, r.appendable, r.reg)
	if err != nil {
		return fmt.Errorf("cannot create the scrape manager: %w", err)
	}
	if err := r.delivery.CountAhead(r.reg); err != nil {
		return err
	}
	r.targetLimit, err = newTargetLimit(log.With(r.agent.opts.Logger, "component", "discovery"), r.reg, r.skips)
	if err != nil {
		return fmt.Errorf("cannot limit targets: %w", err)
	}
	sdMetrics, err := discovery.CreateAndRegisterSDMetrics(r.reg)
	if err != nil {
		return fmt.Errorf("cannot create the discovery manager: %w", err)
	}
	r.discovers = make(chan struct{})
	r.discover = sync.OnceFunc(func() { close(r.discovers) })
	ctx, cancel := context.WithCancel(context.Background())
	r.cancelDiscovery = cancel
	r.discovery = discovery.NewManager(ctx, r.agent.slogger.With("component", "discovery"), r.reg, sdMetrics, discovery.Name(discoveryName),
		discovery.FeatureRegistry(r.agent.features), discovery.HTTPClientOptions(discoveryOptions(r.agent.opts.Limits.BodySize)...))
	if r.discovery == nil {
		cancel()
		return errors.New("cannot create the discovery manager")
	}
	return nil
}

// addActors adds what runs, in the order in which it is stopped. The first to
// return ends all: ctx at its end, or what failed.
func (r *run) addActors(ctx context.Context, g *oklog.Group) {
	ctx, cancel := context.WithCancel(ctx)
	begun := make(chan struct{})
	g.Add(func() error {
		if err := r.agent.begin(r); err != nil {
			return err
		}
		close(begun)
		select {
		case <-ctx.Done():
			return nil
		case err := <-r.delivery.Failure():
			return fmt.Errorf("%w: %w", errBeginAnew, err)
		case why := <-r.clockBroken:
			// A restart is to wait for this time.
			r.delivery.SawTime(r.agent.clock.latest())
			return fmt.Errorf("%w %w: %s", errBeginAnew, errClockSet, why)
		}
	}, func(error) { cancel() })
	g.Add(func() error {
		select {
		case <-r.discovers:
		case <-ctx.Done():
			return nil
		}
		if err := r.discovery.Run(); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}, func(error) { r.cancelDiscovery() })
	if r.store.Unwritable() != nil {
		g.Add(func() error { return r.awaitWritable(ctx) }, func(error) { cancel() })
	}
	scrapeStopped := make(chan struct{})
	g.Add(func() error {
		// Ends when discovery has ended, or when it is stopped.
		found := make(chan targetSets)
		go r.targetLimit.pass(r.discovery.SyncCh(), r.fixed.news, found, scrapeStopped)
		err := r.scrape.Run(found)
		<-scrapeStopped
		return err
	}, func(error) { close(scrapeStopped) })
	for _, actor := range []func(context.Context) error{r.delivery.Run, r.keepStore, r.retryJobs, r.skipTargets} {
		actorCtx, cancelActor := context.WithCancel(context.Background())
		g.Add(func() error {
			// Before the destinations are known, nothing could count what is evicted.
			select {
			case <-begun:
				return actor(actorCtx)
			case <-actorCtx.Done():
				return nil
			}
		}, func(error) { cancelActor() })
	}
}

// close closes the storage. When the agent ends because it was asked to, what could
// not be written is told, and is no failure of the stop: nothing else can be done about
// it, and nothing is lost.
func (r *run) close(ctx context.Context) error {
	err := r.closeStorage()
	if err == nil || ctx.Err() == nil {
		return err
	}
	level.Error(r.agent.opts.Logger).Log("msg", "Not everything could be written at the stop; what was delivered since the marks were saved last may be sent again", "err", words(err))
	return nil
}

// closeStorage closes in the reverse order of opening.
func (r *run) closeStorage() error {
	var errs []error
	if r.cancelDiscovery != nil {
		r.cancelDiscovery()
	}
	if r.delivery != nil {
		errs = append(errs, r.delivery.Close())
		r.agent.unwritten = r.delivery.Unwritten()
		r.agent.moved = r.store.Vanished() != nil && r.store.Moved()
	}
	if r.db != nil {
		errs = append(errs, r.closeDB())
	}
	if r.store != nil {
		errs = append(errs, r.store.Close())
	}
	return errors.Join(errs...)
}

// closeDeadline is how long upstream's WAL storage may take to close.
const closeDeadline = 2 * time.Second

// closeDB closes upstream's WAL storage. Its Close waits, with its lock held, for
// a truncation that may be waiting for this lock (tsdb/agent, v0.315.0). The
// marks are written by then: to leave it behind loses nothing.
func (r *run) closeDB() error {
	closed := make(chan error, 1)
	go func() { closed <- r.db.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeDeadline):
		level.Warn(r.agent.opts.Logger).Log("msg", "Upstream's WAL storage does not close; leaving it behind")
		return nil
	}
}

// apply commits p: delivery first, so that destinations are there before new
// targets are scraped, and scraping before discovery, which starts it.
func (r *run) apply(p *prepared) error {
	for _, notice := range p.delivery.Notices {
		level.Info(r.agent.opts.Logger).Log("msg", notice)
	}
	if err := r.delivery.Apply(p.delivery); err != nil {
		return err
	}
	r.skips.configure(p.scrapes, time.Now())
	r.longestAnswer.Store(int64(longestAnswer(p.scrapes)))
	r.agent.applyHost(p.scrapes)
	if err := r.scrape.ApplyConfig(p.scraping); err != nil {
		return err
	}
	if err := r.applyTargets(p); err != nil {
		return err
	}
	r.setStopped(p.stopped)
	r.setMissingLogs(p.missing)
	return nil
}

// applyTargets says what is to be scraped.
func (r *run) applyTargets(p *prepared) error {
	if err := r.discovery.ApplyConfig(p.discovery); err != nil {
		return err
	}
	r.fixed.set(fixedSets{p.fixed, len(p.discovery) > 0})
	if len(p.discovery) > 0 {
		r.discover()
	}
	return nil
}
