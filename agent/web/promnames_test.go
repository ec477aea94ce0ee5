package web

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Dashboards and alerts for Prometheus find what they ask for.
func TestPrometheusNames(t *testing.T) {
	registry := prometheus.NewRegistry()
	success := prometheus.NewGauge(prometheus.GaugeOpts{Name: "opstrace_agent_config_last_reload_successful", Help: "h"})
	reloaded := prometheus.NewGauge(prometheus.GaugeOpts{Name: "opstrace_agent_config_last_reload_success_timestamp_seconds", Help: "h"})
	registry.MustRegister(success, reloaded)
	success.Set(1)
	reloaded.Set(1.7e9)
	a := startAgent(t, "")
	s, err := New(Options{Agent: a, Gatherer: registry})
	if err != nil {
		t.Fatal(err)
	}
	get(t, s.Handler(), "/api/v1/label/job/values")
	get(t, s.Handler(), "/api/v1/label/instance/values")
	get(t, s.Handler(), "/not/there")
	get(t, s.Handler(), "/")
	body := get(t, s.Handler(), "/metrics").Body.String()
	for _, line := range []string{
		"prometheus_config_last_reload_successful 1",
		"opstrace_agent_config_last_reload_successful 1",
		"prometheus_config_last_reload_success_timestamp_seconds 1.7e+09",
		"prometheus_ready 1",
		`prometheus_http_requests_total{code="422",handler="/api/v1/label/{name}/values"} 2`,
		`prometheus_http_requests_total{code="200",handler="/"} 1`,
		`prometheus_http_request_duration_seconds_count{handler="/"} 1`,
		`prometheus_http_response_size_bytes_count{handler="/"} 1`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("not there: %s", line)
		}
	}
	if !strings.Contains(body, "\nprometheus_build_info{") || strings.Contains(body, "/not/there") {
		t.Error(body)
	}
	idle, err := New(Options{Agent: idleAgent(t), Gatherer: registry})
	if err != nil {
		t.Fatal(err)
	}
	if body := get(t, idle.Handler(), "/metrics").Body.String(); !strings.Contains(body, "\nprometheus_ready 0\n") {
		t.Error("ready before the start")
	}
}

// Metrics that are there already, and errors, are passed on as they are.
func TestNamesThatAreTaken(t *testing.T) {
	name, one, two := "prometheus_ready", 1.0, 2.0
	family := func(v *float64) []*dto.MetricFamily {
		return []*dto.MetricFamily{{Name: &name, Type: dto.MetricType_GAUGE.Enum(), Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: v}}}}}
	}
	next := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return family(&one), errors.New("broken") })
	own := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return family(&two), nil })
	got, err := withPrometheusNames(next, own).Gather()
	if err == nil || len(got) != 1 || got[0].Metric[0].Gauge.GetValue() != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestReleaseOf(t *testing.T) {
	for module, want := range map[string]string{
		"v0.316.0": "3.16.0", "v0.301.2": "3.1.2", "v0.55.1": "v0.55.1", "v0.3x6.0": "v0.3x6.0", "": "", "v1.316.0": "v1.316.0",
		"v0.316.0-rc.1": "3.16.0-rc.1",
	} {
		if got := releaseOf(module); got != want {
			t.Errorf("%s: %s instead of %s", module, got, want)
		}
	}
}

func TestSelfMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "a_total", Help: "An a."}, []string{"url"})
	registry.MustRegister(c)
	c.WithLabelValues("http://u:s3cret@h/?k=s3cret").Add(2)
	s, err := New(Options{Agent: idleAgent(t), Gatherer: registry})
	if err != nil {
		t.Fatal(err)
	}
	var list []json.RawMessage
	decodeData(t, s, "/api/v1/status/self_metrics?metric_name_pattern=a_.*", &list)
	if len(list) != 1 {
		t.Fatalf("%s", list)
	}
	var f map[string]any
	if err := json.Unmarshal(list[0], &f); err != nil {
		t.Fatal(err)
	}
	if f["name"] != "a_total" || f["type"] != "COUNTER" || f["help"] != "An a." || strings.Contains(string(list[0]), "s3cret") {
		t.Errorf("%s", list[0])
	}
	decodeData(t, s, "/api/v1/status/self_metrics?metric_name_pattern=total", &list) // anchored
	if len(list) != 0 {
		t.Errorf("%s", list)
	}
	decodeData(t, s, "/api/v1/status/self_metrics", &list)
	if len(list) < 3 {
		t.Errorf("%s", list)
	}
	if rec := get(t, s.Handler(), "/api/v1/status/self_metrics?metric_name_pattern=("); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), `"invalid metric_name_pattern: `) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestFeatures(t *testing.T) {
	s, err := New(Options{Agent: startAgent(t, ""), Gatherer: prometheus.NewRegistry(), EnableLifecycle: true, Flags: map[string]string{"config.auto-reload": "true"}})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]map[string]bool
	decodeData(t, s, "/api/v1/features", &got)
	if p := got["prometheus"]; !p["agent_mode"] || p["server_mode"] || !p["auto_reload_config"] {
		t.Errorf("prometheus: %v", p)
	}
	if api := got["api"]; !api["lifecycle"] || api["admin"] || len(api) < 5 {
		t.Errorf("api: %v", api)
	}
	if sd := got["service_discovery_providers"]; !sd["file"] || !sd["static"] || !sd["http"] || !sd["dns"] {
		t.Errorf("discoveries: %v", slices.Collect(maps.Keys(sd)))
	}
	if scrape := got["scrape"]; !scrape["extra_scrape_metrics"] || scrape["openmetrics2"] {
		t.Errorf("scrape: %v", scrape)
	}
}
