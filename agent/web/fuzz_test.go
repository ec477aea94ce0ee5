package web

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// FuzzAPI asks for anything, as somebody who comes from elsewhere: the answer is no
// failure of the server's, what is said to be JSON is, and nothing changes.
func FuzzAPI(f *testing.F) {
	const secret = "SECRET-of-a-target"
	a := startAgent(f, `
scrape_configs:
- job_name: a
  basic_auth: {username: u, password: `+secret+`}
  metrics_path: /never
  scrape_interval: 1h
  static_configs: [{targets: ["127.0.0.1:1", "127.0.0.1:2"], labels: {a: "<b>"}}]
`)
	s, err := New(Options{Agent: a, Gatherer: prometheus.NewRegistry(), Flags: map[string]string{"a": "b"}, RoutePrefix: "/"})
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range []string{
		"", "metrics", "exposition", "favicon.ico", "-/healthy", "-/ready", "-/reload", "-/forget", "debug/pprof/",
		"api/v1/targets", "api/v1/targets/metadata", "api/v1/targets/relabel_steps", "api/v1/metadata", "api/v1/query", "api/v1/status/config",
		"api/v1/status/delivery", "api/v1/status/flags", "api/v1/status/runtimeinfo", "api/v1/status/self_metrics", "api/v1/scrape_pools", "api/v1/features",
	} {
		f.Add(http.MethodGet, path, "state=any&scrapePool=a&target=127.0.0.1:1&limit=-1&limit_per_metric=x&match_target={a=\"", "gzip")
		f.Add(http.MethodPost, path, "destination=a&pool=a&labels={}", "")
	}
	f.Fuzz(func(t *testing.T, method, path, query, encoding string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://agent", nil)
		if err != nil {
			return
		}
		r.URL = &url.URL{Path: "/" + path, RawQuery: query}
		r.RemoteAddr = "192.0.2.1:1234"
		r.Header.Set("Accept-Encoding", encoding)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		body := w.Body.String()
		if w.Code >= 500 && w.Code != http.StatusServiceUnavailable && w.Code != http.StatusNotImplemented {
			t.Errorf("%s %s: %d %s", method, r.URL, w.Code, body)
		}
		if w.Header().Get("Content-Type") == "application/json" && w.Header().Get("Content-Encoding") == "" && method != http.MethodHead && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %s: no JSON: %s", method, r.URL, body)
		}
		if strings.Contains(body, secret) {
			t.Errorf("%s %s: %s", method, r.URL, body)
		}
		if !a.Ready() {
			t.Errorf("%s %s: the agent is not ready any more", method, r.URL)
		}
	})
}
