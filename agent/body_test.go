package agent_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestBodySize: the agent knows how much each target answers, and no series comes of it
// but those that the user asks for, in this run and in the next.
func TestBodySize(t *testing.T) {
	t.Parallel()
	const body = "a 1\nscrape_body_size_bytes{mine=\"yes\"} 2\n"
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
	t.Cleanup(target.Close)
	r := newRig(t, agenttest.Manners{})
	job := "  - job_name: %s\n    extra_scrape_metrics: %t\n    static_configs: [{targets: [%q]}]\n"
	addr := strings.TrimPrefix(target.URL, "http://")
	r.jobs = fmt.Sprintf(job, "plain", false, addr) + fmt.Sprintf(job, "extra", true, addr)

	plain := []string{"a", "scrape_body_size_bytes", "scrape_duration_seconds", "scrape_samples_post_metric_relabeling", "scrape_samples_scraped", "scrape_series_added", "up"}
	extra := slices.Sorted(slices.Values(append([]string{"scrape_body_size_bytes", "scrape_sample_limit", "scrape_timeout_seconds"}, plain...)))
	for range 2 {
		a, stop := r.inProcess(agent.Options{MaxClockWait: -1})
		r.eventually("both targets to be measured", func() error {
			sizes := map[string]uint64{}
			if m := a.ScrapeManager(); m != nil {
				for job, targets := range m.TargetsActive() {
					for _, target := range targets {
						sizes[job] = a.LastBody(target)
					}
				}
			}
			if want := map[string]uint64{"plain": uint64(len(body)), "extra": uint64(len(body))}; !maps.Equal(sizes, want) {
				return fmt.Errorf("%v instead of %v", sizes, want)
			}
			return nil
		})
		before := r.endpoint.Snapshot().Accepted
		r.eventually("another run of samples to arrive", func() error {
			if n := r.endpoint.Snapshot().Accepted - before; n < int64(2*len(extra)) {
				return fmt.Errorf("%d so far", n)
			}
			return nil
		})
		stop()
	}
	names := map[string][]string{}
	for _, s := range r.endpoint.Snapshot().Series(labels.MustNewMatcher(labels.MatchEqual, "instance", addr)) {
		job := s.Labels.Get("job")
		names[job] = append(names[job], s.Labels.Get(model.MetricNameLabel))
	}
	for job, want := range map[string][]string{"plain": plain, "extra": extra} {
		if got := slices.Sorted(slices.Values(names[job])); !slices.Equal(got, want) {
			t.Errorf("the series of %s:\n%q\ninstead of\n%q", job, got, want)
		}
	}
}
