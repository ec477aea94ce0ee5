package web

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/version"
	"github.com/prometheus/prometheus/config"
)

func upstreamString(c *config.Config) (string, error) { return c.String(), nil }

func TestStatusAPI(t *testing.T) {
	registry := prometheus.NewRegistry()
	success := prometheus.NewGauge(prometheus.GaugeOpts{Name: "opstrace_agent_config_last_reload_successful"})
	reloaded := prometheus.NewGauge(prometheus.GaugeOpts{Name: "opstrace_agent_config_last_reload_success_timestamp_seconds"})
	registry.MustRegister(success, reloaded)
	success.Set(1)
	reloaded.Set(1_700_000_000)
	s, err := New(Options{
		Agent: startAgent(t, "global: {external_labels: {site: a}}\nscrape_configs:\n- job_name: b\n- job_name: a\n"), Gatherer: registry,
		PrintConfig: upstreamString, Flags: map[string]string{"web.external-url": "https://op:s3cret@example.org/?token=s3cret&a=b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var pools scrapePoolsDiscovery
	eventually(t, "the pools are there", func() bool {
		decodeData(t, s, "/api/v1/scrape_pools", &pools)
		return len(pools.ScrapePools) == 2
	})
	if !slices.Equal(pools.ScrapePools, []string{"a", "b"}) {
		t.Errorf("scrape pools: %q", pools.ScrapePools)
	}
	var cfg prometheusConfig
	decodeData(t, s, "/api/v1/status/config", &cfg)
	if !strings.Contains(cfg.YAML, "site: a") {
		t.Errorf("configuration: %s", cfg.YAML)
	}
	var flags map[string]string
	decodeData(t, s, "/api/v1/status/flags", &flags)
	if want := "https://xxxxx@example.org/?token=xxxxx&a=xxxxx"; flags["web.external-url"] != want {
		t.Errorf("flags: %v instead of %s", flags, want)
	}
	var build prometheusVersion
	decodeData(t, s, "/api/v1/status/buildinfo", &build)
	if build.GoVersion != version.GoVersion {
		t.Errorf("build: %+v", build)
	}
	var info runtimeInfo
	decodeData(t, s, "/api/v1/status/runtimeinfo", &info)
	if !info.ReloadConfigSuccess || info.LastConfigTime.Unix() != 1_700_000_000 || info.StartTime.IsZero() ||
		info.GOMAXPROCS < 1 || info.GoroutineCount < 1 || info.Hostname == "" || info.StorageRetention == "" || info.StorageRetention == "0B" {
		t.Errorf("runtime: %+v", info)
	}
}

func TestRelabelSteps(t *testing.T) {
	a := startAgent(t, `
scrape_configs:
- job_name: a
  static_configs: [{targets: ["h:1"]}]
  relabel_configs:
  - {source_labels: [__address__], target_label: host, regex: "(.*):.*"}
  - {source_labels: [env], regex: test, action: drop}
  - {target_label: late, replacement: x}
  - {target_label: __param_key, replacement: s3cret}
`)
	s, err := New(Options{Agent: a, Gatherer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pool is there", func() bool { return len(a.ScrapeManager().ScrapePools()) == 1 })
	path := func(pool, labels string) string {
		return "/api/v1/targets/relabel_steps?" + url.Values{"scrapePool": {pool}, "labels": {labels}}.Encode()
	}
	type answer struct {
		Steps []struct {
			Rule   json.RawMessage   `json:"rule"`
			Output map[string]string `json:"output"`
			Keep   bool              `json:"keep"`
		} `json:"steps"`
	}
	var got answer
	decodeData(t, s, path("a", `{"__address__":"h:1","__param_token":"s3cret"}`), &got)
	if len(got.Steps) != 4 || !got.Steps[2].Keep || got.Steps[0].Output["host"] != "h" || got.Steps[2].Output["late"] != "x" || got.Steps[0].Output["__param_token"] != "<secret>" ||
		strings.Contains(string(got.Steps[3].Rule), "s3cret") {
		t.Errorf("kept: %+v", got)
	}
	got = answer{}
	decodeData(t, s, path("a", `{"__address__":"h:1","env":"test"}`), &got)
	if len(got.Steps) != 4 || !got.Steps[0].Keep || got.Steps[1].Keep || got.Steps[2].Keep || len(got.Steps[2].Output) != 0 {
		t.Errorf("dropped by the second rule: %+v", got)
	}
	for path, want := range map[string]string{
		path("", "{}"):  "no scrapePool parameter provided",
		path("a", ""):   "no labels parameter provided",
		path("a", "{"):  "error parsing labels: unexpected end of JSON input",
		path("b", "{}"): `error retrieving scrape config: scrape pool \"b\" not found`,
	} {
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if want := `{"status":"error","errorType":"bad_data","error":"` + want + `"}`; rec.Code != 400 || rec.Body.String() != want {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
}
