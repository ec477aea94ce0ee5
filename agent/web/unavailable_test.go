package web

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// upstreamRoutes are the routes of upstream's API that are wrapped by a function,
// as "METHOD path".
func upstreamRoutes(t *testing.T, wrapper string) (routes []string) {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/prometheus/prometheus").Output()
	if err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile(filepath.Join(string(bytes.TrimSpace(out)), "web/api/v1/api.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`r\.(Get|Post|Put)\("/([^"]+)", `+wrapper+`\(`).FindAllStringSubmatch(string(src), -1) {
		routes = append(routes, strings.ToUpper(m[1])+" "+m[2])
	}
	if len(routes) == 0 {
		t.Fatalf("upstream has no routes in %s", wrapper)
	}
	return routes
}

// What an agent cannot answer is refused as upstream's agent does, so that clients
// of it understand.
func TestUnavailable(t *testing.T) {
	s, err := New(Options{Agent: idleAgent(t), Gatherer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	var ours, upstreams []string
	for path, methods := range unavailablePaths {
		for _, method := range methods {
			ours = append(ours, method+" "+path)
		}
	}
	for _, route := range upstreamRoutes(t, "wrapAgent") {
		// A feature of servers that must be asked for; without it, the path is not there.
		if !strings.HasSuffix(route, "_cost") {
			upstreams = append(upstreams, strings.Replace(route, ":name", "{name}", 1))
		}
	}
	slices.Sort(ours)
	slices.Sort(upstreams)
	if !slices.Equal(ours, upstreams) {
		t.Errorf("ours:\n%q\nupstream's:\n%q", ours, upstreams)
	}
	const want = `{"status":"error","errorType":"execution","error":"unavailable with Prometheus Agent"}`
	for _, route := range upstreams {
		method, path, _ := strings.Cut(strings.Replace(route, "{name}", "job", 1), " ")
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, httptest.NewRequest(method, "/api/v1/"+path+"?query=up", nil))
		if rec.Code != http.StatusUnprocessableEntity || rec.Header().Get("Content-Type") != "application/json" || rec.Body.String() != want {
			t.Errorf("%s: %d %s", route, rec.Code, rec.Body)
		}
	}
	if rec := get(t, s.Handler(), "/api/v1/nothing"); rec.Code != 404 {
		t.Errorf("a path that nobody has: %d", rec.Code)
	}
}

// What upstream's agent answers is answered.
func TestUpstreamsPathsAreServed(t *testing.T) {
	s, err := New(Options{Agent: startAgent(t, ""), Gatherer: prometheus.NewRegistry(), PrintConfig: upstreamString})
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range upstreamRoutes(t, "wrap") {
		path := strings.TrimPrefix(route, "GET ")
		switch path {
		case "scrape_pools/config": // /api/v1/status/config has it
			continue
		case "targets/relabel_steps":
			path += "?scrapePool=none&labels={}"
		}
		if rec := get(t, s.Handler(), "/api/v1/"+path); rec.Code == 404 || rec.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", route, rec.Code, rec.Body)
		}
	}
}
