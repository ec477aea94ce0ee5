package targetcheck

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"

	"github.com/opstrace/opstrace-agent/agent/limits"
)

// grace is how much longer than the longest scrape timeout a round may take.
const grace = 5 * time.Second

// round scrapes every target once. It is upstream's storage for it: appenders
// count and forget.
type round struct {
	cfg     *config.Config
	limits  limits.Limits
	options scrape.Options
	jobs    map[string]*Job // by name
	groups  map[string][]*targetgroup.Group
	timeout time.Duration // the longest
	done    counter

	mu      sync.Mutex
	targets map[*scrape.Target]*Target
	all     chan struct{} // closed when all targets are done
}

func newRound(cfg *config.Config, o Options) *round {
	return &round{
		cfg:     cfg,
		limits:  o.Limits,
		options: o.Scrape,
		jobs:    map[string]*Job{},
		groups:  map[string][]*targetgroup.Group{},
		done:    counter{what: "targets", progress: o.Progress},
		targets: map[*scrape.Target]*Target{},
		all:     make(chan struct{}),
	}
}

func (r *round) add(job *Job, c *config.ScrapeConfig) {
	count, timeout := job.expand(c)
	if count == 0 {
		return
	}
	r.jobs[c.JobName] = job
	r.groups[c.JobName] = job.groups
	r.done.total += count
	r.timeout = max(r.timeout, timeout)
}

// scrape lets upstream's scrape manager begin, and stops it when every target
// has been scraped.
func (r *round) scrape(ctx context.Context) error {
	if r.done.total == 0 {
		return nil
	}
	o := r.options
	o.SynthesizeST = false         // which leaves out what is scraped first
	o.PassMetadataInContext = true // the appenders learn their targets by it
	o.DiscoveryReloadOnStartup = true
	// Scrapes are spread over the interval, up to a whole one late: this makes all of
	// them begin at once.
	o.InitialScrapeOffset = -maxInterval
	manager, err := scrape.NewManager(&o, slog.New(slog.DiscardHandler), nil, nil, r, prometheus.NewRegistry())
	if err != nil {
		return fmt.Errorf("cannot create the scrape manager: %w", err)
	}
	if err := manager.ApplyConfig(r.cfg); err != nil {
		return fmt.Errorf("cannot apply the scrape configuration: %w", err)
	}
	found := make(chan map[string][]*targetgroup.Group, 1)
	found <- r.groups
	var running sync.WaitGroup
	running.Go(func() { _ = manager.Run(found) })
	select {
	case <-r.all:
	case <-time.After(r.timeout + grace):
	case <-ctx.Done():
	}
	active := manager.TargetsActive()
	manager.Stop()
	running.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	r.collect(active)
	return nil
}

// maxInterval is longer than any scrape interval that makes sense.
const maxInterval = 10 * 365 * 24 * time.Hour

var errNotScraped = errors.New("was not scraped in time")

// collect puts what was counted where it belongs.
func (r *round) collect(active map[string][]*scrape.Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	builder := labels.NewBuilder(labels.EmptyLabels())
	for name, targets := range active {
		for _, t := range targets {
			result := r.targets[t]
			if result == nil {
				result = &Target{Err: errNotScraped, Sends: make([]Send, len(r.cfg.RemoteWriteConfigs))}
			}
			result.URL, result.Labels = t.URL().String(), t.Labels(builder)
			r.jobs[name].Targets = append(r.jobs[name].Targets, result)
		}
	}
}

// AppenderV2 implements storage.AppendableV2. It is called once for every scrape, and again after a scrape whose
// samples were thrown away as a whole.
func (r *round) AppenderV2(ctx context.Context) storage.AppenderV2 {
	target, _ := scrape.TargetFromContext(ctx)
	return newTally(r, target)
}

// finish takes the first scrape of a target: one with a short interval may be
// scraped again before the others are done.
func (r *round) finish(t *scrape.Target, result *Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, again := r.targets[t]; again {
		return
	}
	r.targets[t] = result
	r.done.add()
	if len(r.targets) == r.done.total {
		close(r.all)
	}
}

func timeoutOf(t *scrape.Target) time.Duration {
	d, err := model.ParseDuration(t.GetValue(model.ScrapeTimeoutLabel))
	if err != nil {
		return 0
	}
	return time.Duration(d)
}
