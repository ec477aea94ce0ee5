package upstreamqueue

import (
	"maps"
	"math"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Gather implements prometheus.Gatherer: the metrics of upstream's remote
// storage as if there were one. What is not of a queue is told once, by the
// idle storage; every queue adds its own.
func (q *Queues) Gather() ([]*dto.MetricFamily, error) {
	q.mtx.RLock()
	queues := slices.Collect(maps.Values(q.queues))
	q.mtx.RUnlock()
	gatherers := prometheus.Gatherers{part{q.registry, false}}
	for _, u := range queues {
		gatherers = append(gatherers, part{u.registry, true})
	}
	return gatherers.Gather()
}

// part gathers either what is of a queue or all else.
type part struct {
	*recorder

	ofQueue bool
}

// Gather implements prometheus.Gatherer.
func (p part) Gather() ([]*dto.MetricFamily, error) {
	families, err := p.recorder.Gather()
	families = slices.DeleteFunc(families, func(f *dto.MetricFamily) bool {
		f.Metric = slices.DeleteFunc(f.Metric, func(m *dto.Metric) bool { return isOfQueue(m) != p.ofQueue })
		if f.GetName() == currentSegment {
			truncate(f.Metric)
		}
		return len(f.Metric) == 0
	})
	return families, err
}

func isOfQueue(m *dto.Metric) bool {
	return slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool {
		return l.GetName() == remoteName || l.GetName() == consumer
	})
}

// truncate takes away what begunAgain has added.
func truncate(gauges []*dto.Metric) {
	for _, m := range gauges {
		v := math.Trunc(m.GetGauge().GetValue())
		m.Gauge = &dto.Gauge{Value: &v}
	}
}
