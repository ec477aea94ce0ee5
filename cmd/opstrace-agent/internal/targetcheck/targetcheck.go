// Package targetcheck discovers, relabels and scrapes every target of a
// configuration once, with the code that the agent runs, and counts what would
// be sent to each destination. Nothing is stored and nothing is sent.
package targetcheck

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/http"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"

	"github.com/opstrace/opstrace-agent/agent/hostmetrics"
	"github.com/opstrace/opstrace-agent/agent/limits"
	"github.com/opstrace/opstrace-agent/agent/redact"
)

// Options of a check. All fields but Scrape must be set.
type Options struct {
	// DiscoveryTimeout is how long a discovery may take to answer.
	DiscoveryTimeout time.Duration
	// Progress is called as things get done, from several goroutines: "jobs"
	// while targets are looked for, "targets" while they are scraped.
	Progress func(done, total int, what string)
	// Limits are those that the agent is run with.
	Limits limits.Limits
	// Scrape is how the agent has upstream scrape. What takes more than one scrape is
	// left out: a start timestamp is synthesised from the second on.
	Scrape scrape.Options
}

// Report is what was found, in the order of the configuration.
type Report struct {
	Jobs         []*Job
	Destinations []string // names, in the order of Target.Sends
	Warnings     []string // of limits that are set too high
	// Series of all targets, with those that tell of a target itself. NoRoom of them
	// the agent would not take, which takes MaxSeries; 0: it has no such limit.
	Series, NoRoom int
	MaxSeries      uint64
}

// Job is one scrape config.
type Job struct {
	Name string
	// Failures are discoveries that do not answer and targets that cannot be
	// made into one.
	Failures []string
	// Notes are what may be meant so.
	Notes []string
	// Dropped is how many targets relabel_configs dropped.
	Dropped int
	// Targets by URL.
	Targets []*Target

	groups []*targetgroup.Group
}

// Target is one target after one scrape. Samples are floats and native
// histograms.
type Target struct {
	URL    string
	Labels labels.Labels // that its series get
	Err    error         // nil if the scrape succeeded
	Took   time.Duration
	// Scraped samples; Kept by metric_relabel_configs; NotTaken were repeated
	// within the scrape, or more than ten minutes ahead.
	Scraped, Kept, NotTaken int
	// Dropped samples by the reason for which the agent drops their series.
	Dropped map[string]int
	Sends   []Send // by destination

	series, reported int // that the agent's storage would be asked to take; those about the scrape
}

// Send is what a target means for a destination. It counts the samples about
// the scrape too, such as up, which are sent even if the scrape failed.
type Send struct {
	Samples    int
	Dropped    int // by write_relabel_configs
	Histograms int // native ones, left out for lack of send_native_histograms
	Bytes      int // compressed
	// Refused samples have labels that an Opstrace tenant does not take; Problem
	// tells of the first of them.
	Refused int
	Problem string
}

// Failed reports whether anything did not work.
func (r *Report) Failed() bool {
	return r.NoRoom > 0 || slices.ContainsFunc(r.Jobs, func(j *Job) bool {
		return len(j.Failures) > 0 || slices.ContainsFunc(j.Targets, (*Target).failed)
	})
}

func (t *Target) failed() bool {
	return t.Err != nil || slices.ContainsFunc(t.Sends, func(s Send) bool { return s.Refused > 0 })
}

// Run checks a configuration as scrapeconfig.LoadFile returns it. Its errors
// are about the whole; what is about a job or a target is in the report.
func Run(ctx context.Context, cfg *config.Config, o Options) (*Report, error) {
	o.Limits = o.Limits.Or(limits.From(limits.Memory()))
	r := &Report{Warnings: o.Limits.Configure(cfg)}
	configs, err := cfg.GetScrapeConfigs()
	if err != nil {
		return nil, err
	}
	own := *cfg
	configs = asTheAgent(configs)
	own.ScrapeConfigs, own.ScrapeConfigFiles = configs, nil // the latter are among them
	for _, rw := range cfg.RemoteWriteConfigs {
		r.Destinations = append(r.Destinations, rw.Name)
	}
	var looking sync.WaitGroup
	found := counter{what: "jobs", total: len(configs), progress: o.Progress}
	for _, c := range configs {
		job := &Job{Name: c.JobName}
		r.Jobs = append(r.Jobs, job)
		looking.Go(func() {
			job.discover(ctx, c, o.DiscoveryTimeout)
			found.add()
		})
	}
	looking.Wait()

	var host hostmetrics.Host
	_ = host.Use(configs, slog.New(slog.DiscardHandler)) // its target tells of the error
	defer func() { _ = host.Close() }()
	o.Scrape.HTTPClientOptions = append(o.Scrape.HTTPClientOptions, commonconfig.WithDialContextFunc(host.Dialer(new(net.Dialer).DialContext)))
	s := newRound(&own, o)
	for i, c := range configs {
		s.add(r.Jobs[i], c)
	}
	if err := s.scrape(ctx); err != nil {
		return nil, err
	}
	for _, job := range r.Jobs {
		slices.SortFunc(job.Targets, func(a, b *Target) int {
			return cmp.Or(cmp.Compare(a.URL, b.URL), labels.Compare(a.Labels, b.Labels))
		})
	}
	r.countSeries(o.Limits.MaxSeries)
	return r, nil
}

// asTheAgent returns copies of the jobs that follow a redirect where the agent does.
func asTheAgent(jobs []*config.ScrapeConfig) []*config.ScrapeConfig {
	own := make([]*config.ScrapeConfig, 0, len(jobs))
	for _, job := range jobs {
		ours := *job
		ours.HTTPClientConfig = redact.Redirects(job.HTTPClientConfig, job.Params)
		ours.ServiceDiscoveryConfigs = nil
		for _, sd := range job.ServiceDiscoveryConfigs {
			if asked, ok := sd.(*http.SDConfig); ok {
				copied := *asked
				copied.HTTPClientConfig = redact.RedirectsOf(asked.HTTPClientConfig, asked.URL)
				sd = &copied
			}
			ours.ServiceDiscoveryConfigs = append(ours.ServiceDiscoveryConfigs, sd)
		}
		own = append(own, &ours)
	}
	return own
}

// countSeries finds how many series the agent would take, of targets that are scraped
// one after the other: which of them lose some depends on who comes first, how many are
// lost in all does so hardly.
func (r *Report) countSeries(maxSeries uint64) {
	r.MaxSeries = maxSeries
	taken := 0
	for _, job := range r.Jobs {
		for _, t := range job.Targets {
			room := int(limits.Room(maxSeries, uint64(taken), uint64(t.series)))
			taken += room + t.reported // which come last, and are always taken
			r.Series += t.series + t.reported
			r.NoRoom += t.series - room
		}
	}
}

// counter tells how much is done.
type counter struct {
	what     string
	total    int
	progress func(done, total int, what string)

	mu   sync.Mutex
	done int
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done++
	c.progress(c.done, c.total, c.what)
}

// expand makes targets of what was discovered, to know how many there will be
// and what is wrong with the others. It returns the longest scrape timeout.
func (j *Job) expand(c *config.ScrapeConfig) (count int, timeout time.Duration) {
	builder := labels.NewBuilder(labels.EmptyLabels())
	seen := map[string]bool{}
	for _, group := range j.groups {
		targets, failures := scrape.TargetsFromGroup(group, c, nil, builder)
		for _, err := range failures {
			j.Failures = append(j.Failures, "cannot make a target: "+err.Error())
		}
		for _, t := range targets {
			if t.Labels(builder).IsEmpty() {
				j.Dropped++
				continue
			}
			key := t.URL().String() + t.Labels(builder).String()
			if seen[key] {
				continue // upstream scrapes it once
			}
			seen[key] = true
			timeout = max(timeout, timeoutOf(t))
		}
	}
	if _, err := commonconfig.NewClientFromConfig(c.HTTPClientConfig, c.JobName); err != nil {
		j.Failures = append(j.Failures, fmt.Sprintf("cannot be scraped: %s", err))
		return 0, 0
	}
	return len(seen), timeout
}
