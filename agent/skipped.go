package agent

import (
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"

	"github.com/opstrace/opstrace-agent/agent/delivery"
)

const (
	// smallestSkipped is the number of samples below which nothing is gained by
	// skipping a target: a node exporter is below it.
	smallestSkipped = 1000
	// skipGrace is how long a skipped target is remembered that discovery does not
	// give. After a reload that changes how a job is discovered it gives none until the
	// new discovery has answered: the largest target would come back while memory is
	// short.
	skipGrace = time.Minute
)

// skippedTarget is one that is held back from the scrape manager.
type skippedTarget struct {
	delivery.Skipped

	job      string        // of the configuration
	identity labels.Labels // by which what discovery gives is told apart
	interval time.Duration
	from     time.Time // since when scrapes are counted by interval
	before   uint64    // scrapes that were skipped until then
	gone     time.Time // since when discovery does not give it; zero: it does
}

// scrapes that were skipped so far. A target that discovery does not give has none.
func (t *skippedTarget) scrapes(now time.Time) uint64 {
	if !t.gone.IsZero() {
		now = t.gone
	}
	if t.interval <= 0 {
		return t.before
	}
	return t.before + uint64(max(0, now.Sub(t.from))/t.interval)
}

// forgettable reports whether discovery has not given the target for too long.
func (t *skippedTarget) forgettable(now time.Time) bool {
	return !t.gone.IsZero() && now.Sub(t.gone) >= skipGrace
}

// note takes in what discovery gives the target now: its labels after relabelling,
// empty where it would not be scraped.
func (t *skippedTarget) note(shown labels.Labels, now time.Time) {
	if shown.IsEmpty() {
		if t.gone.IsZero() {
			t.gone = now
		}
		return
	}
	was := *t
	t.describe(shown.Get)
	// Not at each look: it costs a part of a scrape.
	if t.interval != was.interval || !was.gone.IsZero() {
		t.before, t.from, t.gone = was.scrapes(now), now, time.Time{}
	}
}

// describe takes job, instance and interval from labels after relabelling.
func (t *skippedTarget) describe(label func(name string) string) {
	t.Job, t.Instance = label(model.JobLabel), label(model.InstanceLabel)
	t.interval = 0
	if d, err := model.ParseDuration(label(model.ScrapeIntervalLabel)); err == nil {
		t.interval = time.Duration(d)
	}
}

// identityOf returns by what a target is told apart from the others of its job, out
// of its labels before relabelling, which are in lb. How often it is scraped is not
// part of it: a reload that changes that would end what it was made to help.
func identityOf(lb *labels.Builder) labels.Labels {
	return lb.Del(model.ScrapeIntervalLabel, model.ScrapeTimeoutLabel).Labels()
}

// largestTarget returns no target when none is large.
func largestTarget(active map[string][]*scrape.Target, size func(*scrape.Target) uint64, now time.Time) (largest skippedTarget, ok bool) {
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
	lb.Reset(found.DiscoveredLabels(lb))
	largest.identity = identityOf(lb)
	largest.describe(found.GetValue)
	largest.Since, largest.from = now, now
	return largest, true
}
