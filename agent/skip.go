package agent

import (
	"context"
	"slices"
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
	"github.com/opstrace/opstrace-agent/agent/pulse"
)

const (
	// skipLook is how often to look what is to be skipped while memory is short.
	skipLook = time.Second
	// skipNext is how long to wait for what a target gives back before another one
	// is skipped: its loop ends within seconds, a collection follows.
	skipNext = 15 * time.Second
	// skipFor is how long a target is skipped at least, at first; twice as long each
	// time that memory is short again within skipAgain of its coming back.
	skipFor   = 30 * time.Second
	skipAgain = 10 * time.Minute
	maxSkip   = 16 * time.Minute
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

// forgot takes in that n of those that are skipped are no more. Without the last, all
// are back.
func (p *skipPace) forgot(n int, now time.Time) {
	if n == 0 {
		return
	}
	p.skipped -= n
	if p.skipped == 0 {
		p.did(skipNone, now)
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
	before  uint64 // scrapes skipped of targets that are back, or no more
}

func newSkips(logger log.Logger) *skips {
	return &skips{logger: logger, changed: make(chan struct{}, 1)}
}

// configure makes the jobs known whose targets are to be told apart. What was skipped
// of others is no more.
func (s *skips) configure(jobs []*config.ScrapeConfig, now time.Time) {
	s.mtx.Lock()
	s.jobs = map[string]*config.ScrapeConfig{}
	for _, job := range jobs {
		s.jobs[job.JobName] = job
	}
	forgotten := s.forget(now, func(t skippedTarget) bool { return s.jobs[t.job] == nil })
	s.mtx.Unlock()
	s.tell(forgotten, now)
}

// forget drops the skipped targets that are no more, keeps how many scrapes of them
// were skipped, and returns them. It is called with the lock held.
func (s *skips) forget(now time.Time, noMore func(skippedTarget) bool) (forgotten []skippedTarget) {
	s.targets = slices.DeleteFunc(s.targets, func(t skippedTarget) bool {
		if !noMore(t) {
			return false
		}
		s.before += t.scrapes(now)
		forgotten = append(forgotten, t)
		return true
	})
	s.pace.forgot(len(forgotten), now)
	return forgotten
}

func (s *skips) tell(forgotten []skippedTarget, now time.Time) {
	for _, t := range forgotten {
		level.Info(s.logger).Log("msg", "A target that was skipped is gone", "job", t.Job, "instance", t.Instance, "skipped_scrapes", t.scrapes(now))
	}
}

// status returns what is skipped of that which discovery gives, and how many scrapes
// were in this run.
func (s *skips) status(now time.Time) (skipped []delivery.Skipped, scrapes uint64) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	scrapes = s.before
	for _, t := range s.targets {
		if t.gone.IsZero() {
			skipped = append(skipped, t.Skipped)
		}
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
	forgotten := s.forget(now, func(t skippedTarget) bool { return t.forgettable(now) })
	action := s.pace.look(stage, now)
	s.mtx.Unlock()
	s.tell(forgotten, now)
	switch action {
	case skipOneMore:
		largest, ok := largestTarget(active(), size, now)
		if !ok {
			return
		}
		s.mtx.Lock()
		s.targets = append(s.targets, largest)
		s.pace.did(action, now)
		s.mtx.Unlock()
		level.Warn(s.logger).Log("msg", "The largest target is not scraped until there is more memory", "job", largest.Job, "instance", largest.Instance, "samples", largest.Samples)
	case skipNone:
		s.mtx.Lock()
		n, skipped := 0, uint64(0)
		for _, t := range s.targets {
			skipped += t.scrapes(now)
			if t.gone.IsZero() {
				n++
			}
		}
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

// without returns what discovery has found without the skipped targets, and notes which
// of them it has found. What it is given is not changed.
func (s *skips) without(found map[string][]*targetgroup.Group, now time.Time) map[string][]*targetgroup.Group {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if len(s.targets) == 0 {
		return found
	}
	lb := labels.NewBuilder(labels.EmptyLabels())
	shown := make([]labels.Labels, len(s.targets)) // after relabelling
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
				held := s.find(job, identityOf(lb))
				if held < 0 {
					return true
				}
				// Nothing is skipped of what would not be scraped, for whatever reason.
				ls, err := scrape.PopulateLabels(lb, cfg, target, group.Labels)
				if err != nil || ls.IsEmpty() {
					return true
				}
				shown[held] = ls
				return false
			})
		}
	}
	for i := range s.targets {
		s.targets[i].note(shown[i], now)
	}
	return kept
}

// find returns the place of a skipped target; -1 if it is none.
func (s *skips) find(job string, identity labels.Labels) int {
	return slices.IndexFunc(s.targets, func(t skippedTarget) bool {
		return t.job == job && labels.Equal(t.identity, identity)
	})
}

// any reports whether something is skipped.
func (s *skips) any() bool {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	return len(s.targets) > 0
}

// skipTargets looks until ctx ends, whenever there may be something to skip or to take
// back.
func (r *run) skipTargets(ctx context.Context) error {
	for {
		var look <-chan time.Time // nil: never
		if r.delivery.Pressure() > delivery.Relaxed || r.skips.any() {
			look = pulse.After(skipLook)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.delivery.PressureChanged():
		case <-look:
		}
		r.skips.look(r.delivery.Pressure(), time.Now(), r.scrape.TargetsActive, r.delivery.LastScrape)
	}
}
