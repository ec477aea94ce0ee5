package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	oklog "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/scrape"
	agentdb "github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/util/compression"
	"github.com/prometheus/prometheus/util/logging"

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
	store    *backlog.Store
	delivery *delivery.Delivery
	db       *agentdb.DB

	scrape          *scrape.Manager
	discovery       *discovery.Manager
	cancelDiscovery context.CancelFunc
	pace            pace
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
	r := &run{agent: a, reg: prometheus.NewRegistry()}
	saved, err := r.openStorage(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.closeStorage()) }()
	a.waitForClock(ctx, time.UnixMilli(saved.Written))
	if ctx.Err() != nil {
		return nil
	}
	if err := r.openScraping(); err != nil {
		return err
	}
	var g oklog.Group
	r.addActors(ctx, &g)
	err = g.Run()
	a.finish()
	// Upstream's loops end here: after this, nothing is appended.
	r.scrape.Stop()
	a.tracing.stop()
	return err
}

// openStorage opens backlog, delivery and WAL, in this order. On error it
// leaves nothing open.
func (r *run) openStorage(ctx context.Context) (saved delivery.Saved, err error) {
	o := r.agent.opts
	if err := os.MkdirAll(o.StoragePath, 0o750); err != nil {
		return saved, fmt.Errorf("cannot create the storage directory: %w", err)
	}
	saved, err = delivery.Load(o.StoragePath)
	if err != nil {
		level.Error(o.Logger).Log("msg", "the marks are lost: everything on disk is sent, some of it again", "err", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.closeStorage())
		}
	}()
	segmentSize := o.SegmentSize
	if segmentSize == 0 {
		segmentSize = segmentSizeFor(o.BacklogMaxBytes)
	}
	r.store, err = backlog.Open(backlog.Options{
		Dir:           o.StoragePath,
		MinGeneration: saved.Generation + 1,
		MaxBytes:      o.BacklogMaxBytes,
		MinFreeBytes:  o.MinFreeBytes,
		SyncInterval:  o.SyncInterval,
		SegmentSize:   int64(segmentSize),
		Logger:        o.Logger,
		Registerer:    r.reg,
		OnEvict:       func(to backlog.Position) { r.delivery.Evict(to) },
		LiveSegment:   func() int { return r.delivery.LiveSegment() },
	})
	if err != nil {
		return saved, err
	}
	if err := createFirstSegment(o.StoragePath); err != nil {
		return saved, err
	}
	r.delivery, err = delivery.New(delivery.Options{
		Dir:               o.StoragePath,
		Store:             r.store,
		Saved:             saved,
		ScrapeManager:     r,
		Logger:            log.With(o.Logger, "component", "delivery"),
		Slogger:           r.agent.slogger.With("component", "remote"),
		MaxLiveLag:        o.MaxLiveLag,
		MinStay:           o.MinStay,
		SaveInterval:      o.SyncInterval,
		MaxCatchUpRate:    o.MaxCatchUpRate,
		TypeAndUnitLabels: o.Features.TypeAndUnitLabels,
	})
	if err != nil {
		return saved, err
	}
	r.db, err = agentdb.Open(r.agent.slogger.With("component", "wal"), r.reg, r.delivery.Remote(), o.StoragePath, walOptions(o, segmentSize))
	if err != nil {
		return saved, fmt.Errorf("cannot open the WAL: %w", err)
	}
	// Without this, upstream's queues poll every 15 s.
	r.db.SetWriteNotified(r.delivery)
	return saved, nil
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
	opts.WALCompression = compression.Snappy
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

const (
	pageSize       = 32 << 10 // of the WAL; a segment is a multiple of it
	minSegmentSize = 1 << 20
	maxSegmentSize = 8 << 20
)

// segmentSizeFor follows from the budget: eviction goes by whole segments, so
// one must be a small part of it.
func segmentSizeFor(budget int64) int {
	size := int64(maxSegmentSize)
	if budget > 0 {
		size = min(maxSegmentSize, max(minSegmentSize, budget/32))
	}
	return int(size / pageSize * pageSize)
}

// createFirstSegment puts an empty segment 0 into an empty WAL, so that the
// segment which is written is never number 0: a watcher's gauge says 0 when it
// has not begun as well.
func createFirstSegment(dir string) error {
	wal := filepath.Join(dir, "wal")
	if err := os.MkdirAll(wal, 0o750); err != nil {
		return fmt.Errorf("cannot create the WAL's directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(wal, "00000000"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot create the WAL's first segment: %w", err)
	}
	return f.Close()
}

// openScraping builds the scrape and discovery managers.
func (r *run) openScraping() error {
	f := r.agent.opts.Features
	var err error
	r.scrape, err = scrape.NewManager(&scrape.Options{
		AppendMetadata:           f.MetadataWALRecords,
		ParseST:                  f.STStorage,
		SynthesizeST:             f.STSynthesis,
		EnableTypeAndUnitLabels:  f.TypeAndUnitLabels,
		EnableOpenMetrics2:       f.OpenMetrics2,
		EnableZstdScrape:         f.ZstdScrape,
		DiscoveryReloadInterval:  model.Duration(r.agent.opts.DiscoveryReloadInterval),
		DiscoveryReloadOnStartup: true, // else the first scrape waits for 5 s
	}, r.agent.slogger.With("component", "scrape"), logging.NewJSONFileLogger, nil, r.delivery.Appendable(r.db), r.reg)
	if err != nil {
		return fmt.Errorf("cannot create the scrape manager: %w", err)
	}
	sdMetrics, err := discovery.CreateAndRegisterSDMetrics(r.reg)
	if err != nil {
		return fmt.Errorf("cannot create the discovery manager: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancelDiscovery = cancel
	r.discovery = discovery.NewManager(ctx, r.agent.slogger.With("component", "discovery"), r.reg, sdMetrics, discovery.Name("scrape"))
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
		}
	}, func(error) { cancel() })
	g.Add(func() error {
		if err := r.discovery.Run(); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}, func(error) { r.cancelDiscovery() })
	scrapeStopped := make(chan struct{})
	g.Add(func() error {
		// Ends when discovery has ended.
		err := r.scrape.Run(r.discovery.SyncCh())
		<-scrapeStopped
		return err
	}, func(error) { close(scrapeStopped) })
	for _, actor := range []func(context.Context) error{r.delivery.Run, r.store.Run} {
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

// closeStorage closes in the reverse order of opening.
func (r *run) closeStorage() error {
	var errs []error
	if r.cancelDiscovery != nil {
		r.cancelDiscovery()
	}
	if r.delivery != nil {
		errs = append(errs, r.delivery.Close())
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
		level.Warn(r.agent.opts.Logger).Log("msg", "upstream's WAL storage does not close, leaving it behind")
		return nil
	}
}

// apply commits p: delivery first, so that destinations are there before new
// targets are scraped, and scraping before discovery, which starts it.
func (r *run) apply(p *prepared) error {
	for _, notice := range p.delivery.Notices {
		level.Info(r.agent.opts.Logger).Log("msg", notice)
	}
	if err := r.agent.tracing.apply(p.cfg, r.agent.slogger.With("component", "tracing")); err != nil {
		return err
	}
	if err := r.delivery.Apply(p.delivery); err != nil {
		return err
	}
	if err := r.scrape.ApplyConfig(p.cfg); err != nil {
		return err
	}
	if err := r.discovery.ApplyConfig(p.discovery); err != nil {
		return err
	}
	return nil
}
