// Package agent is the whole of a remote_write agent between a configuration
// and its endpoints: scraping and discovery, the WAL, the backlog, and delivery.
// It knows no signals and no flags, and can be run more than once in a process.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/scrape"
	slgk "github.com/tjhop/slog-gokit"

	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// Agent scrapes, keeps and delivers. The zero value is not usable; see New.
type Agent struct {
	opts    Options
	slogger *slog.Logger
	tracing tracing
	clock   *clock
	// clockAwaited: a run has waited for the clock. Used by Run only.
	clockAwaited bool

	applyMtx sync.Mutex // serialises Apply with itself and with the start of a run

	mtx     sync.Mutex
	cfg     *config.Config
	run     *run // nil when not running
	started time.Time
	waiting string
	ready   bool
}

// New checks the options. Nothing is opened before Run.
func New(o Options) (*Agent, error) {
	if o.StoragePath == "" {
		return nil, errors.New("no storage path")
	}
	a := &Agent{opts: o.withDefaults(), waiting: "starting"}
	a.slogger = slog.New(slgk.NewGoKitHandler(a.opts.Logger, a.opts.LogLevel))
	a.clock = newClock(a.opts.Logger, systemClock())
	return a, nil
}

// errBeginAnew ends a run that cannot go on, but can be begun again at once: a
// commit failed, and upstream's pooled appender holds samples that it would
// write again.
var errBeginAnew = errors.New("the storage must be opened anew")

// anewDelay keeps a failing disk from making the agent spin.
const anewDelay = 2 * time.Second

// Run runs the agent with cfg until ctx ends. It returns nil then, and an error
// if it cannot begin or go on. It returns after everything is closed and the
// marks are written.
func (a *Agent) Run(ctx context.Context, cfg *config.Config) error {
	if err := a.prepareFirst(cfg); err != nil {
		return err
	}
	watched, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { a.clock.watch(watched) })
	defer watching.Wait()
	defer cancel()
	for {
		err := a.runOnce(ctx)
		if !errors.Is(err, errBeginAnew) {
			return err
		}
		if errors.Is(err, errClockSet) {
			level.Info(a.opts.Logger).Log("msg", "Beginning a new run, whose storage takes samples of the present time", "why", err)
			a.setWaiting("opening the storage anew after a step of the clock")
			continue
		}
		level.Error(a.opts.Logger).Log("msg", "Opening the storage anew", "err", err)
		a.setWaiting("opening the storage anew after a failed write")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(anewDelay):
		}
	}
}

// prepareFirst refuses a configuration that cannot work before anything is opened.
func (a *Agent) prepareFirst(cfg *config.Config) error {
	if _, err := prepare(cfg); err != nil {
		return err
	}
	a.mtx.Lock()
	defer a.mtx.Unlock()
	a.cfg = cfg
	a.started = time.Now()
	return nil
}

// Apply makes cfg the configuration in force. Everything that can fail is done
// before anything is touched: after an error the old configuration runs on.
func (a *Agent) Apply(cfg *config.Config) error {
	p, err := prepare(cfg)
	if err != nil {
		return err
	}
	a.applyMtx.Lock()
	defer a.applyMtx.Unlock()
	a.mtx.Lock()
	r := a.run
	a.mtx.Unlock()
	if r != nil {
		if err := r.apply(p); err != nil {
			return err
		}
	}
	a.mtx.Lock()
	a.cfg = cfg
	a.mtx.Unlock()
	return nil
}

// Ready reports whether the storage is open, the configuration applied and
// scraping begun. It does not say that an endpoint answers.
func (a *Agent) Ready() bool {
	a.mtx.Lock()
	defer a.mtx.Unlock()
	return a.ready
}

// Config is the configuration in force; nil before Run.
func (a *Agent) Config() *config.Config {
	a.mtx.Lock()
	defer a.mtx.Unlock()
	return a.cfg
}

// ScrapeManager is upstream's scrape manager; nil while not running.
func (a *Agent) ScrapeManager() *scrape.Manager {
	if r := a.current(); r != nil {
		return r.scrape
	}
	return nil
}

// Gatherer gathers the metrics of the agent and of the current run.
func (a *Agent) Gatherer() prometheus.Gatherer {
	own := prometheus.NewRegistry()
	own.MustRegister(a.clock.steps)
	return prometheus.Gatherers{own, prometheus.GathererFunc(func() (metrics, error) {
		if r := a.current(); r != nil {
			return r.gatherer.Gather()
		}
		return nil, nil
	})}
}

// Status of the storage and of every destination.
func (a *Agent) Status() Status {
	a.mtx.Lock()
	s := Status{Ready: a.ready, Started: a.started, Waiting: a.waiting, Clock: a.clock.last(), Destinations: []delivery.Status{}}
	r := a.run
	a.mtx.Unlock()
	if r == nil {
		return s
	}
	s.Storage = r.storageStatus()
	s.Destinations = r.delivery.Status()
	return s
}

// Alive returns an error when scraping or delivery has made no progress for
// longer than within, beyond what their own intervals and timeouts explain.
func (a *Agent) Alive(within time.Duration) error {
	r := a.current()
	if r == nil {
		return nil // opening, closing or waiting: bounded elsewhere
	}
	return r.alive(within)
}

func (a *Agent) current() *run {
	a.mtx.Lock()
	defer a.mtx.Unlock()
	return a.run
}

func (a *Agent) setWaiting(why string) {
	a.mtx.Lock()
	defer a.mtx.Unlock()
	a.waiting = why
}

// begin publishes a run that is open and applied.
func (a *Agent) begin(r *run) error {
	a.applyMtx.Lock()
	defer a.applyMtx.Unlock()
	p, err := prepare(a.Config())
	if err != nil {
		return err
	}
	if err := r.apply(p); err != nil {
		return fmt.Errorf("cannot apply the configuration: %w", err)
	}
	a.mtx.Lock()
	defer a.mtx.Unlock()
	a.run, a.ready, a.waiting = r, true, ""
	return nil
}

// finish withdraws the run before it is closed.
func (a *Agent) finish() {
	a.applyMtx.Lock()
	defer a.applyMtx.Unlock()
	a.mtx.Lock()
	defer a.mtx.Unlock()
	a.run, a.ready, a.waiting = nil, false, "stopping"
}
