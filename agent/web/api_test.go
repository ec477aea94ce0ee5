package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/opstrace/opstrace-agent/agent"
)

// The JSON types must stay those of Prometheus: fields, names and types.
func TestTypesAreUpstreams(t *testing.T) {
	upstream := upstreamStructs(t, "web/api/v1/api.go")
	types := strings.NewReplacer("web.activeTarget", "*Target", "web.droppedTarget", "*DroppedTarget", "web.relabelStep", "RelabelStep")
	for name, ours := range map[string]reflect.Type{
		"Target":               reflect.TypeFor[activeTarget](),
		"DroppedTarget":        reflect.TypeFor[droppedTarget](),
		"TargetDiscovery":      reflect.TypeFor[targetDiscovery](),
		"ScrapePoolsDiscovery": reflect.TypeFor[scrapePoolsDiscovery](),
		"RelabelStepsResponse": reflect.TypeFor[relabelStepsResponse](),
		"RelabelStep":          reflect.TypeFor[relabelStep](),
		"RuntimeInfo":          reflect.TypeFor[runtimeInfo](),
		"PrometheusVersion":    reflect.TypeFor[prometheusVersion](),
		"prometheusConfig":     reflect.TypeFor[prometheusConfig](),
		"metricMetadata":       reflect.TypeFor[metricMetadata](),
	} {
		var fields []string
		for i := range ours.NumField() {
			f := ours.Field(i)
			fields = append(fields, fmt.Sprintf("%s %s %s", f.Name, types.Replace(f.Type.String()), f.Tag))
		}
		if want := upstream[name]; !slices.Equal(fields, want) {
			t.Errorf("%s:\nours:     %q\nupstream: %q", name, fields, want)
		}
	}
}

// upstreamStructs returns the fields of the structs in one file of upstream, as
// "Name type tag".
func upstreamStructs(t *testing.T, file string) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/prometheus/prometheus").Output()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(string(bytes.TrimSpace(out)), file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	structs := map[string][]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		s, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		for _, f := range s.Fields.List {
			for _, name := range f.Names {
				structs[spec.Name.Name] = append(structs[spec.Name.Name],
					fmt.Sprintf("%s %s %s", name, types.ExprString(f.Type), strings.Trim(tagOf(f), "`")))
			}
		}
		return true
	})
	return structs
}

func tagOf(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	return f.Tag.Value
}

func TestTargets(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "a 1")
	}))
	defer up.Close()
	down := httptest.NewServer(http.NotFoundHandler())
	defer down.Close()
	upAddr, downAddr := strings.TrimPrefix(up.URL, "http://"), strings.TrimPrefix(down.URL, "http://")
	a := startAgent(t, fmt.Sprintf(`
global: {scrape_interval: 100ms, scrape_timeout: 100ms}
scrape_configs:
- job_name: b
  static_configs:
  - targets: [%q]
    labels: {dc: "x<y"}
  - targets: ["dropped:80"]
  relabel_configs:
  - {source_labels: [__address__], regex: "dropped:80", action: drop}
- job_name: a
  static_configs:
  - targets: [%q]
`, upAddr, downAddr))
	s, err := New(Options{Agent: a, Gatherer: prometheus.NewRegistry(), ExternalURL: mustParse(t, "https://edge.example.org/agent")})
	if err != nil {
		t.Fatal(err)
	}
	get := func(query string) (data targetDiscovery) {
		t.Helper()
		decodeData(t, s, "/api/v1/targets"+query, &data)
		return data
	}
	eventually(t, "both targets are scraped", func() bool {
		all := get("").ActiveTargets
		return len(all) == 2 && all[0].Health == "down" && all[1].Health == "up"
	})

	all := get("")
	bad, good := all.ActiveTargets[0], all.ActiveTargets[1] // pools in order of their names
	if bad.ScrapePool != "a" || bad.LastError != "server returned HTTP status 404 Not Found" {
		t.Errorf("the target that is down: %+v", bad)
	}
	if good.ScrapePool != "b" || good.LastError != "" || good.LastScrape.IsZero() || good.LastScrapeDuration <= 0 ||
		good.ScrapeInterval != "100ms" || good.ScrapeTimeout != "100ms" || good.ScrapeURL != up.URL+"/metrics" {
		t.Errorf("the target that is up: %+v", good)
	}
	if want := "http://" + strings.Replace(upAddr, "127.0.0.1", "edge.example.org", 1) + "/metrics"; good.GlobalURL != want {
		t.Errorf("globalUrl %s instead of %s", good.GlobalURL, want)
	}
	if got := good.Labels.Map(); !reflect.DeepEqual(got, map[string]string{"dc": "x<y", "instance": upAddr, "job": "b"}) {
		t.Errorf("labels: %v", got)
	}
	if got := good.DiscoveredLabels.Get("__address__"); got != upAddr {
		t.Errorf("discovered __address__: %s", got)
	}
	if len(all.DroppedTargets) != 1 || all.DroppedTargets[0].ScrapePool != "b" || all.DroppedTargets[0].DiscoveredLabels.Get("__address__") != "dropped:80" {
		t.Errorf("dropped: %+v", all.DroppedTargets)
	}
	if !reflect.DeepEqual(all.DroppedTargetCounts, map[string]int{"a": 0, "b": 1}) {
		t.Errorf("dropped counts: %v", all.DroppedTargetCounts)
	}

	for query, want := range map[string][3]int{ // active, dropped, counts
		"?state=any":              {2, 1, 2},
		"?state=Active":           {2, 0, 0},
		"?state=dropped":          {0, 1, 2},
		"?state=bogus":            {0, 0, 0},
		"?scrapePool=a":           {1, 0, 2},
		"?scrapePool=b":           {1, 1, 2},
		"?scrapePool=none":        {0, 0, 2},
		"?scrapePool=b&state=any": {1, 1, 2},
	} {
		d := get(query)
		if got := [3]int{len(d.ActiveTargets), len(d.DroppedTargets), len(d.DroppedTargetCounts)}; got != want {
			t.Errorf("%s: %v instead of %v", query, got, want)
		}
		if d.ActiveTargets == nil || d.DroppedTargets == nil {
			t.Errorf("%s: a list is null", query)
		}
	}
}

// decodeData gets a path and decodes the data of the answer, strictly.
func decodeData(t *testing.T, s *Server, path string, data any) {
	t.Helper()
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	if rec.Code != 200 || rec.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %d %s %s", path, rec.Code, rec.Header(), rec.Body)
	}
	var resp struct {
		Status string          `json:"status"`
		Data   json.RawMessage `json:"data"`
	}
	decodeStrictly(t, rec.Body.Bytes(), &resp)
	if resp.Status != "success" {
		t.Fatalf("%s: status %q", path, resp.Status)
	}
	decodeStrictly(t, resp.Data, data)
}

func decodeStrictly(t *testing.T, b []byte, into any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
}

func TestAPIBeforeTheStart(t *testing.T) {
	s, err := New(Options{Agent: idleAgent(t), Gatherer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/api/v1/targets", nil))
	want := `{"status":"error","errorType":"unavailable","error":"the agent is not scraping yet; /-/ready tells when"}`
	if rec.Code != 503 || rec.Body.String() != want {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	var status agent.Status
	decodeData(t, s, "/api/v1/status/delivery", &status)
	if status.Ready {
		t.Error("ready before the start")
	}
}

func TestGlobalURL(t *testing.T) {
	s := &Server{opts: Options{ListenAddresses: []string{"127.0.0.1:9095"}, ExternalURL: mustParse(t, "https://edge.example.org:8443/agent")}}
	for in, want := range map[string]string{
		"http://localhost:9095/metrics":  "https://edge.example.org:8443/metrics",
		"http://127.0.0.1:9100/metrics":  "http://edge.example.org:9100/metrics",
		"http://[::1]:9100/metrics":      "http://edge.example.org:9100/metrics",
		"http://localhost/metrics":       "http://edge.example.org/metrics",
		"http://192.0.2.1:9095/metrics":  "http://192.0.2.1:9095/metrics",
		"https://db.example.org/metrics": "https://db.example.org/metrics",
	} {
		got, err := s.globalURL(mustParse(t, in))
		if err != nil || got.String() != want {
			t.Errorf("%s: %s instead of %s, %v", in, got, want, err)
		}
	}
	if _, err := s.globalURL(&url.URL{Scheme: "http", Host: "a:b:c"}); err == nil {
		t.Error("a host that is none is taken")
	}
}

// The documents have every path of the API, and every metric that is added here.
func TestPathsAndMetricsInDocuments(t *testing.T) {
	table, err := os.ReadFile("../../packaging/doc/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("api.go")
	if err != nil {
		t.Fatal(err)
	}
	paths := regexp.MustCompile(`(?m)^\t\t"([a-z/_]+)": +s\.`).FindAllSubmatch(source, -1)
	if len(paths) < 12 {
		t.Fatalf("only %d paths found", len(paths))
	}
	for _, p := range paths {
		if !bytes.Contains(table, []byte("`/api/v1/"+string(p[1])+"`")) {
			t.Errorf("the table lacks /api/v1/%s", p[1])
		}
	}
	s, err := New(Options{Agent: idleAgent(t), Gatherer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	get(t, s.Handler(), "/")
	families, err := s.gatherer.Gather()
	if err != nil || len(families) < 5 {
		t.Fatalf("%d metrics, %v", len(families), err)
	}
	for _, f := range families {
		if !bytes.Contains(table, []byte("`"+f.GetName()+"`")) {
			t.Errorf("the table lacks %s", f.GetName())
		}
	}
	for _, name := range prometheusNames {
		if !bytes.Contains(table, []byte("`"+name+"`")) {
			t.Errorf("the table lacks %s", name)
		}
	}
}

// TestDocumentAPI: every path that the documents name is served.
func TestDocumentAPI(t *testing.T) {
	s, err := New(Options{Agent: idleAgent(t), Gatherer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	documents, err := filepath.Glob("../../packaging/doc/*.md")
	if err != nil {
		t.Fatal(err)
	}
	path := regexp.MustCompile("`(POST )?(/(?:api/v1/|-/|debug/|metrics|exposition)[a-z/_]*)[?`]")
	found := map[string]bool{}
	for _, document := range append(documents, "../../README.md") {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range path.FindAllSubmatch(text, -1) {
			method, path := http.MethodGet, string(m[2])
			if len(m[1]) > 0 {
				method = http.MethodPost
			}
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
			// Of a path that needs a parameter, 404 is an answer as well, in other words.
			served := w.Code != http.StatusNotFound || !strings.HasPrefix(w.Body.String(), "404 page not found")
			if served == (path == "/-/quit") { // which Prometheus has, the documents say
				t.Errorf("%s: %s %s answers %d %s", document, method, path, w.Code, w.Body)
			}
			found[path] = true
		}
	}
	if len(found) < 20 {
		t.Errorf("only %d paths found", len(found))
	}
}
