package agent

import (
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// firstDiscovery is how long fixed targets wait at a start for the first that are
// discovered.
const firstDiscovery = time.Second

// maxTargetLabel is how long a name or value of a discovered label may be, in
// bytes. Annotations of a pod have up to 256 KiB.
const maxTargetLabel = 1 << 20

// targetLimit stands between discovery and scraping. Upstream panics, beyond any
// recovery, when it makes labels of more than 16 MiB out of what a file or a server
// says of a target. It is for one goroutine.
type targetLimit struct {
	logger  log.Logger
	dropped prometheus.Gauge
	skips   *skips
}

func newTargetLimit(logger log.Logger, reg prometheus.Registerer, skips *skips) (*targetLimit, error) {
	l := &targetLimit{logger: logger, skips: skips, dropped: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "opstrace_agent_limits_dropped_targets",
		Help: "Targets that are not scraped because discovery gives them labels that are too long.",
	})}
	return l, reg.Register(l.dropped)
}

// pass hands on what discovery brings and what is fixed until the former or stop is
// closed, without what is too long and what is skipped. What is skipped changes without
// either, too.
func (l *targetLimit) pass(discovered <-chan targetSets, fixedNews <-chan fixedSets, out chan<- targetSets, stop <-chan struct{}) {
	defer close(out)
	before := 0
	var found, fixed targetSets
	var first <-chan time.Time
	for {
		select {
		case news, ok := <-discovered:
			if !ok {
				return
			}
			found = news
		case news := <-fixedNews:
			fixed = news.targetSets
			if found == nil && news.more {
				// Upstream takes up the first sets at once, and others every 5 s.
				first = time.After(firstDiscovery)
				continue
			}
		case <-first:
			if found != nil || len(fixed) == 0 {
				continue
			}
		case <-l.skips.changed:
			if found == nil && fixed == nil {
				continue
			}
		case <-stop:
			return
		}
		kept, dropped := withoutLongLabels(both(found, fixed), maxTargetLabel)
		l.dropped.Set(float64(dropped))
		switch {
		case dropped > 0 && before == 0:
			level.Warn(l.logger).Log("msg", "Targets with labels that are too long are not scraped", "targets", dropped, "max_bytes", maxTargetLabel)
		case dropped == 0 && before > 0:
			level.Info(l.logger).Log("msg", "All targets are scraped again")
		}
		before = dropped
		select {
		case out <- l.skips.without(kept, time.Now()):
		case <-stop:
			return
		}
	}
}

// withoutLongLabels returns the groups without targets that have a label of more
// than limit bytes, and how many these were. What it is given belongs to
// discovery, and is not changed.
func withoutLongLabels(found targetSets, limit int) (kept targetSets, dropped int) {
	kept = make(targetSets, len(found))
	for job, groups := range found {
		kept[job] = make([]*targetgroup.Group, len(groups))
		for i, group := range groups {
			short := shortLabels(group, limit)
			kept[job][i] = short
			if group != nil {
				dropped += len(group.Targets) - len(short.Targets)
			}
		}
	}
	return kept, dropped
}

// shortLabels returns the group itself where there is nothing to leave out.
func shortLabels(group *targetgroup.Group, limit int) *targetgroup.Group {
	if group == nil {
		return nil
	}
	if hasLong(group.Labels, limit) {
		return &targetgroup.Group{Source: group.Source}
	}
	return withTargets(group, func(target model.LabelSet) bool { return !hasLong(target, limit) })
}

// withTargets returns the group with those of its targets that are wanted: itself
// where all are.
func withTargets(group *targetgroup.Group, wanted func(model.LabelSet) bool) *targetgroup.Group {
	if group == nil {
		return nil
	}
	kept := &targetgroup.Group{Source: group.Source, Labels: group.Labels}
	for _, target := range group.Targets {
		if wanted(target) {
			kept.Targets = append(kept.Targets, target)
		}
	}
	if len(kept.Targets) == len(group.Targets) {
		return group
	}
	return kept
}

func hasLong(ls model.LabelSet, limit int) bool {
	for name, value := range ls {
		if len(name) > limit || len(value) > limit {
			return true
		}
	}
	return false
}
