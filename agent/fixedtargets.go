package agent

import (
	"maps"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// targetSets are the groups of targets of jobs, by name.
type targetSets = map[string][]*targetgroup.Group

// fixedTargets are those of jobs that have nothing but static_configs. They come from
// the configuration, and not by upstream's discovery manager: that looks nine times a
// second for something new as long as it runs, a third of what an agent takes at rest.
type fixedTargets struct {
	news       chan fixedSets // the latest, if nobody has taken them yet
	discovered *prometheus.GaugeVec
}

// fixedSets are all that there are; more, that discovery is to bring others.
type fixedSets struct {
	targetSets
	more bool
}

func newFixedTargets() *fixedTargets {
	return &fixedTargets{
		news: make(chan fixedSets, 1),
		// The name, help and labels of the discovery manager's own, which is gathered
		// with it: dashboards for Prometheus add them up.
		discovered: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name:        "prometheus_sd_discovered_targets",
			Help:        "Current number of discovered targets.",
			ConstLabels: prometheus.Labels{"name": discoveryName},
		}, []string{"config"}),
	}
}

// set replaces all. Calls are serialised.
func (f *fixedTargets) set(sets fixedSets) {
	select {
	case <-f.news:
	default:
	}
	f.news <- sets
	f.discovered.Reset()
	for job, groups := range sets.targetSets {
		n := 0
		for _, group := range groups {
			n += len(group.Targets)
		}
		f.discovered.WithLabelValues(job).Set(float64(n))
	}
}

// splitFixed takes the jobs out of all whose targets are fixed.
func splitFixed(all map[string]discovery.Configs) (fixed targetSets, rest map[string]discovery.Configs) {
	fixed, rest = targetSets{}, map[string]discovery.Configs{}
	for job, configs := range all {
		if groups, ok := fixedGroups(configs); ok {
			fixed[job] = groups
		} else {
			rest[job] = configs
		}
	}
	return fixed, rest
}

// fixedGroups returns the groups of a job, and reports whether there are no others.
func fixedGroups(configs discovery.Configs) (groups []*targetgroup.Group, fixed bool) {
	for _, c := range configs {
		static, ok := c.(discovery.StaticConfig)
		if !ok {
			return nil, false
		}
		groups = append(groups, static...)
	}
	return groups, true
}

// both are the sets of two sources. A job that comes from both has become fixed a moment
// ago.
func both(found, fixed targetSets) targetSets {
	all := make(targetSets, len(found)+len(fixed))
	maps.Copy(all, found)
	maps.Copy(all, fixed)
	return all
}
