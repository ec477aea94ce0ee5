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
	"sync/atomic"
	"time"

	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/util/features"
	slgk "github.com/tjhop/slog-gokit"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/hostmetrics"
)

// Agent scrapes, keeps and delivers. The zero value is not usable; see New.
type Agent struct {
	opts    Options
	slogger *slog.Logger
	tracing tracing
	clock   *clock
	judge   *judge
	host    hostmetrics.Host
	// features is where upstream notes which of its features are on.
	features features.Collector
	// clockAwaited: a run has waited for the clock. Used by Run only.
	clockAwaited bool

	// Of one run to the next.
	opened     bool         // the storage could be opened once
	unwritable bool         // and not be written, by the last run
	unwritten  *ledger.File // the marks, where the last run could not write them
	moved      bool         // the storage directory of the last run is not what has its name

	usesDisk atomic.Bool // a run is being opened, goes on, or is being closed

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
	a.judge = &judge{logger: a.opts.Logger}
	a.features = newFeatures(a.opts.Features)
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
//
// It sets the limits that cfg does not set.
func (a *Agent) Run(ctx context.Context, cfg *config.Config) error {
	a.limit(cfg)
	if err := a.prepareFirst(cfg); err != nil {
		return err
	}
	defer a.closeHost()
	logged := "" // once in an episode
	watched, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { a.clock.watch(watched) })
	watching.Go(func() { a.watchProblems(watched) })
	defer watching.Wait()
	defer cancel()
	for {
		begun := time.Now()
		err := a.runOnce(ctx)
		a.tracing.stop(a.opts.Logger) // not before: the marks must not wait for a collector
		switch {
		case errors.Is(err, errWritableAgain) && ctx.Err() != nil:
			return nil
		case errors.Is(err, errWritableAgain):
			logged = ""
			continue
		case !errors.Is(err, errBeginAnew):
			return err
		}
		if errors.Is(err, errClockSet) {
			level.Info(a.opts.Logger).Log("msg", "Beginning a new run, whose storage takes samples of the present time", "why", err)
			a.setWaiting("opening the storage anew after a step of the clock")
			continue
		}
		if logged != err.Error() || time.Since(begun) > time.Minute {
			logged = err.Error()
			level.Error(a.opts.Logger).Log("msg", "Opening the storage anew", "err", err)
		}
		a.setWaiting("opening the storage anew: " + err.Error())
		if errors.Is(err, backlog.ErrVanished) {
			continue // a stop meanwhile would leave nobody to tell what is lost
		}
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
// before anything is touched: after an error the old configuration runs on. It
// sets the limits that cfg does not set.
func (a *Agent) Apply(cfg *config.Config) error {
	a.limit(cfg)
	p, err := prepare(cfg)
	if err != nil {
		return err
	}
	if err := p.refuse(); err != nil {
		return err
	}
	a.applyMtx.Lock()
	defer a.applyMtx.Unlock()
	a.mtx.Lock()
	r := a.run
	a.mtx.Unlock()
	if r != nil {
		if err := r.trace(p.cfg); err != nil {
			return err
		}
		if err := r.apply(p); err != nil {
			return err
		}
	}
	a.mtx.Lock()
	a.cfg = cfg
	a.mtx.Unlock()
	return nil
}

// limit sets the limits that a configuration does not set.
func (a *Agent) limit(cfg *config.Config) {
	for _, warning := range a.opts.Limits.Configure(cfg) {
		level.Warn(a.opts.Logger).Log("msg", "A limit is too high to protect the agent", "reason", warning)
	}
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

// ScrapeClient is what a client of a scrape pool's configuration has to be built with:
// that configuration is not as it was in the file. Nil while not running.
func (a *Agent) ScrapeClient() []config_util.HTTPClientOption {
	if r := a.current(); r != nil {
		return r.scrapeClient
	}
	return nil
}

// LastScrape is how many samples a target had when it was scraped last, those that
// tell of the scrape included; 0 when it was not, or long ago.
func (a *Agent) LastScrape(target *scrape.Target) uint64 {
	if r := a.current(); r != nil {
		return r.delivery.LastScrape(target)
	}
	return 0
}

// LastBody is how many bytes a target answered when it was scraped last, not compressed;
// 0 when it did not answer, was not asked, or long ago.
func (a *Agent) LastBody(target *scrape.Target) uint64 {
	if r := a.current(); r != nil {
		return r.delivery.LastBody(target)
	}
	return 0
}

// Gatherer gathers the metrics of the agent and of the current run.
func (a *Agent) Gatherer() prometheus.Gatherer {
	own := prometheus.NewRegistry()
	own.MustRegister(a.clock.steps, problems{a.Status})
	return prometheus.Gatherers{own, prometheus.GathererFunc(func() (metrics, error) {
		if r := a.current(); r != nil {
			return r.gatherer.Gather()
		}
		return nil, nil
	})}
}

// Status of the storage and of every destination.
func (a *Agent) Status() Status {
	s, targets := a.state()
	s.Verdict = a.judge.verdict(time.Now(), &s, targets)
	return s
}

// state is the status without a verdict, and what is being scraped.
func (a *Agent) state() (s Status, targets map[string][]*scrape.Target) {
	a.mtx.Lock()
	s = Status{Ready: a.ready, Started: a.started, Waiting: a.waiting, Clock: a.clock.last(), Destinations: []delivery.Status{}}
	s.receives = a.opts.Receives
	s.noJobs = a.cfg != nil && len(a.cfg.ScrapeConfigs) == 0 && len(a.cfg.ScrapeConfigFiles) == 0
	r := a.run
	a.mtx.Unlock()
	if r == nil {
		return s, nil
	}
	s.Destinations = r.delivery.Status()
	limits := r.delivery.Limits()
	limits.Skipped, limits.SkippedScrapes = r.skips.status(time.Now())
	s.Limits = &limits
	s.Storage = r.storageStatus(limits.Series)
	s.StoppedJobs, s.MissingLogs = r.stoppedJobs(), r.missingLogs()
	s.Kept, s.ForgottenSamples = r.delivery.Kept(), r.delivery.Forgotten()
	return s, r.scrape.TargetsActive()
}

// ErrNotReady is the answer of an agent that is starting or stopping.
var ErrNotReady = errors.New("the agent is not ready")

// Forget drops what is kept for a destination that is gone from the configuration,
// and returns how many samples that were. Errors are ErrNotReady and those of
// delivery.Delivery.Forget.
func (a *Agent) Forget(name string) (samples uint64, err error) {
	a.applyMtx.Lock() // so that the run is not closed meanwhile
	defer a.applyMtx.Unlock()
	r := a.current()
	if r == nil {
		return 0, ErrNotReady
	}
	return r.delivery.Forget(name)
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

// AwaitsDisk reports whether what the end of Run waits for after some seconds is the disk.
// All else has its deadlines, but for a reload that waits for a file. Traces are sent when
// the storage is closed.
func (a *Agent) AwaitsDisk() bool {
	if !a.usesDisk.Load() || !a.applyMtx.TryLock() {
		return false
	}
	a.applyMtx.Unlock()
	return true
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
	r.tryToTrace(p.cfg)
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
