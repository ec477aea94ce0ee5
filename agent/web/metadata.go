package web

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/scrape"
)

// metricMetadata is Prometheus' type.
type metricMetadata struct {
	Target       labels.Labels    `json:"target"`
	MetricFamily string           `json:"metric,omitempty"`
	Type         model.MetricType `json:"type"`
	Help         string           `json:"help"`
	Unit         string           `json:"unit"`
}

// targetMetadata answers /api/v1/targets/metadata?match_target=SELECTOR&metric=NAME&limit=N.
func (s *Server) targetMetadata(r *http.Request) (any, *apiError) {
	limit, apiErr := limitOf(r, "limit")
	if apiErr != nil {
		return nil, apiErr
	}
	var matchers []*labels.Matcher
	if selector := r.FormValue("match_target"); selector != "" {
		var err error
		if matchers, err = parser.NewParser(parser.Options{}).ParseMetricSelector(selector); err != nil {
			return nil, badData(fmt.Sprintf("invalid parameter %q: %s", "match_target", err))
		}
	}
	targets, apiErr := s.allTargets()
	if apiErr != nil {
		return nil, apiErr
	}
	metric := r.FormValue("metric")
	res := []metricMetadata{}
	builder := labels.NewBuilder(labels.EmptyLabels())
	for _, t := range targets {
		if limit >= 0 && len(res) >= limit {
			break
		}
		ls := t.Labels(builder)
		if !matchesAll(ls, matchers) {
			continue
		}
		for _, m := range metadataOf(t, metric) {
			one := metricMetadata{Target: ls, MetricFamily: m.MetricFamily, Type: m.Type, Help: m.Help, Unit: m.Unit}
			if metric != "" {
				one.MetricFamily = "" // who asked knows it
			}
			res = append(res, one)
		}
	}
	return res, nil
}

func matchesAll(ls labels.Labels, matchers []*labels.Matcher) bool {
	return !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(ls.Get(m.Name)) })
}

// metricMetadata answers /api/v1/metadata?metric=NAME&limit=N&limit_per_metric=N.
func (s *Server) metricMetadata(r *http.Request) (any, *apiError) {
	limit, apiErr := limitOf(r, "limit")
	if apiErr != nil {
		return nil, apiErr
	}
	perMetric, apiErr := limitOf(r, "limit_per_metric")
	if apiErr != nil {
		return nil, apiErr
	}
	targets, apiErr := s.allTargets()
	if apiErr != nil {
		return nil, apiErr
	}
	all := map[string][]metadata.Metadata{}
	for _, t := range targets {
		for _, m := range metadataOf(t, r.FormValue("metric")) {
			one := metadata.Metadata{Type: m.Type, Help: m.Help, Unit: m.Unit}
			known := all[m.MetricFamily]
			if !slices.Contains(known, one) && (perMetric <= 0 || len(known) < perMetric) {
				all[m.MetricFamily] = append(known, one)
			}
		}
	}
	if limit >= 0 && len(all) > limit {
		for _, name := range slices.Sorted(maps.Keys(all))[limit:] {
			delete(all, name)
		}
	}
	return all, nil
}

// allTargets that are scraped, pools in the order of their names.
func (s *Server) allTargets() (all []*scrape.Target, _ *apiError) {
	manager := s.opts.Agent.ScrapeManager()
	if manager == nil {
		return nil, errNotReady
	}
	active := manager.TargetsActive()
	for _, pool := range slices.Sorted(maps.Keys(active)) {
		all = append(all, active[pool]...)
	}
	return all, nil
}

// metadataOf one metric of a target, or of all for the empty name.
func metadataOf(t *scrape.Target, metric string) []scrape.MetricMetadata {
	if metric == "" {
		list := t.ListMetadata()
		slices.SortFunc(list, func(a, b scrape.MetricMetadata) int { return naturalCompare(a.MetricFamily, b.MetricFamily) })
		return list
	}
	if m, ok := t.GetMetadata(metric); ok {
		return []scrape.MetricMetadata{m}
	}
	return nil
}

// limitOf a parameter; -1 without it.
func limitOf(r *http.Request, name string) (int, *apiError) {
	text := r.FormValue(name)
	if text == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, badData(name + " must be a number")
	}
	return n, nil
}
