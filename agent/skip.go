package agent

import (
	"context"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"

	"github.com/opstrace/opstrace-agent/agent/delivery"
)

const (
	// skipLook is how often to look whether memory is short.
	skipLook = time.Second
	// skipNext is how long to wait for what a target gives back before another one
	// is skipped: its loop ends within seconds, a collection follows.
	skipNext = 15 * time.Second
	// skipFor is how long a target is skipped at least, at first; twice as long each
	// time that memory is short again within skipAgain of its coming back.
	skipFor   = 30 * time.Second
	skipAgain = 10 * time.Minute
	maxSkip   = 16 * time.Minute
	// smallestSkipped is the number of samples below which nothing is gained by
	// skipping a target: a node exporter is below it.
	smallestSkipped = 1000
)

// skipPace decides when a target is skipped and when all come back. It has no clock.
type skipPace struct {
	skipped  int
	last     time.Time     // that one was skipped
	released time.Time     // that all came back
	atLeast  time.Duration // that they are skipped
}

type skipAction int

const (
	keepSkipped skipAction = iota
	skipOneMore
	skipNone
)

// look returns what is to be done at a stage of pressure.
func (p *skipPace) look(stage delivery.Pressure, now time.Time) skipAction {
	switch {
	case stage >= delivery.SkipScrapes && (p.skipped == 0 || now.Sub(p.last) >= skipNext):
		return skipOneMore
	case p.skipped > 0 && stage < delivery.SmallBatches && now.Sub(p.last) >= p.atLeast:
		return skipNone
	}
	return keepSkipped
}

func (p *skipPace) did(action skipAction, now time.Time) {
	switch action {
	case skipOneMore:
		if p.skipped == 0 {
			p.atLeast = min(2*p.atLeast, maxSkip)
			if p.released.IsZero() || now.Sub(p.released) > skipAgain {
				p.atLeast = skipFor
			}
		}
		p.skipped++
		p.last = now
	case skipNone:
		p.skipped, p.released = 0, now
	}
}

// skips holds the largest targets back from the scrape manager while the memory is
// all but used up: what their loops, caches and answers take is given back. Upstream
// has no other way to leave a scrape out.
type skips struct {
	logger log.Logger
	// changed has something when what is held back has.
	changed chan struct{}

	mtx     sync.Mutex
	jobs    map[string]*config.ScrapeConfig
	targets []skippedTarget
	pace    skipPace
	before  uint64 // scrapes skipped of targets that are back
}

type skippedTarget struct {
	delivery.Skipped

	job        string        // of the configuration
	discovered labels.Labels // by which discovery's targets are told apart
	interval   time.Duration
}

// scrapes that were skipped so far.
func (t skippedTarget) scrapes(now time.Time) uint64 {
	if t.interval <= 0 {
		return 0
	}
	return uint64(max(0, now.Sub(t.Since)) / t.interval)
}

func newSkips(logger log.Logger) *skips {
	return &skips{logger: logger, changed: make(chan struct{}, 1)}
}

// configure makes the jobs known whose targets are to be told apart.
func (s *skips) configure(jobs []*config.ScrapeConfig) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	s.jobs = map[string]*config.ScrapeConfig{}
	for _, job := range jobs {
		s.jobs[job.JobName] = job
	}
}

// status returns what is skipped, and how many scrapes were in this run.
func (s *skips) status(now time.Time) (skipped []delivery.Skipped, scrapes uint64) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	scrapes = s.before
	for _, t := range s.targets {
		skipped = append(skipped, t.Skipped)
		scrapes += t.scrapes(now)
	}
	return skipped, scrapes
}

var (
	descSkipped        = prometheus.NewDesc("opstrace_agent_limits_skipped_targets", "Targets that are not scraped because the memory is nearly used up.", nil, nil)
	descSkippedScrapes = prometheus.NewDesc("opstrace_agent_limits_skipped_scrapes_total", "Scrapes that were left out because the memory was nearly used up.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *skips) Describe(ch chan<- *prometheus.Desc) { ch <- descSkipped; ch <- descSkippedScrapes }

// Collect implements prometheus.Collector.
func (s *skips) Collect(ch chan<- prometheus.Metric) {
	skipped, scrapes := s.status(time.Now())
	ch <- prometheus.MustNewConstMetric(descSkipped, prometheus.GaugeValue, float64(len(skipped)))
	ch <- prometheus.MustNewConstMetric(descSkippedScrapes, prometheus.CounterValue, float64(scrapes))
}

// look skips the largest target or lets all come back, by the stage of pressure.
// active returns what is being scraped, by job; size, how many samples a target had.
func (s *skips) look(stage delivery.Pressure, now time.Time, active func() map[string][]*scrape.Target, size func(*scrape.Target) uint64) {
	s.mtx.Lock()
	action := s.pace.look(stage, now)
	s.mtx.Unlock()
	switch action {
	case skipOneMore:
		largest, ok := largestTarget(active(), size)
		if !ok {
			return
		}
		largest.Since = now
		s.mtx.Lock()
		s.targets = append(s.targets, largest)
		s.pace.did(action, now)
		s.mtx.Unlock()
		level.Warn(s.logger).Log("msg", "The largest target is not scraped until there is more memory", "job", largest.Job, "instance", largest.Instance, "samples", largest.Samples)
	case skipNone:
		s.mtx.Lock()
		skipped := uint64(0)
		for _, t := range s.targets {
			skipped += t.scrapes(now)
		}
		n := len(s.targets)
		s.before += skipped
		s.targets = nil
		s.pace.did(action, now)
		s.mtx.Unlock()
		level.Info(s.logger).Log("msg", "All targets are scraped again", "targets", n, "skipped_scrapes", skipped)
	default:
		return
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// largestTarget returns no target when none is large.
func largestTarget(active map[string][]*scrape.Target, size func(*scrape.Target) uint64) (largest skippedTarget, ok bool) {
	var found *scrape.Target
	for job, targets := range active {
		for _, t := range targets {
			if n := size(t); n >= smallestSkipped && n > largest.Samples {
				found, largest.Samples, largest.job = t, n, job
			}
		}
	}
	if found == nil {
		return largest, false
	}
	lb := labels.NewBuilder(labels.EmptyLabels())
	shown := found.Labels(lb)
	largest.Job, largest.Instance = shown.Get(model.JobLabel), shown.Get(model.InstanceLabel)
	largest.discovered = found.DiscoveredLabels(lb)
	if d, err := model.ParseDuration(found.GetValue(model.ScrapeIntervalLabel)); err == nil {
		largest.interval = time.Duration(d)
	}
	return largest, true
}

// without returns what discovery has found without the skipped targets. What it is
// given is not changed.
func (s *skips) without(found map[string][]*targetgroup.Group) map[string][]*targetgroup.Group {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if len(s.targets) == 0 {
		return found
	}
	lb := labels.NewBuilder(labels.EmptyLabels())
	kept := make(map[string][]*targetgroup.Group, len(found))
	for job, groups := range found {
		kept[job] = groups
		cfg := s.jobs[job]
		if cfg == nil {
			continue
		}
		kept[job] = make([]*targetgroup.Group, len(groups))
		for i, group := range groups {
			kept[job][i] = withTargets(group, func(target model.LabelSet) bool {
				scrape.PopulateDiscoveredLabels(lb, cfg, target, group.Labels)
				return !s.holds(job, lb.Labels())
			})
		}
	}
	return kept
}

func (s *skips) holds(job string, discovered labels.Labels) bool {
	for _, t := range s.targets {
		if t.job == job && labels.Equal(t.discovered, discovered) {
			return true
		}
	}
	return false
}

// skipTargets looks until ctx ends.
func (r *run) skipTargets(ctx context.Context) error {
	tick := time.NewTicker(skipLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			r.skips.look(r.delivery.Pressure(), now, r.scrape.TargetsActive, r.delivery.LastScrape)
		}
	}
}
