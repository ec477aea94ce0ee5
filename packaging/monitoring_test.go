package packaging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// promtool returns the program: that of PROMTOOL or of the path, or else one
// built from the module that the agent is built from.
func promtool(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("PROMTOOL"); path != "" {
		return path
	}
	if path, err := exec.LookPath("promtool"); err == nil {
		return path
	}
	if testing.Short() {
		t.Skip("no promtool in the path, and building it takes a minute")
	}
	// It needs modules that the agent does not, so it gets a module of its own.
	dir := t.TempDir()
	mod := regexp.MustCompile(`(?m)^module .*`).ReplaceAllString(read(t, "../go.mod"), "module scratch")
	for name, content := range map[string]string{"go.mod": mod, "go.sum": read(t, "../go.sum")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "promtool")
	build := exec.Command("go", "build", "-mod=mod", "-o", path, "github.com/prometheus/prometheus/cmd/promtool")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("no promtool in the path, and it cannot be built here: %s\n%s", err, out)
	}
	return path
}

func TestAlerts(t *testing.T) {
	tool := promtool(t)
	for _, args := range [][]string{
		{"check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"},
		{"test", "rules", "alerts_test.yml"},
	} {
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %s\n%s", strings.Join(args, " "), err, out)
		}
	}
}

type alerts struct {
	Groups []struct {
		Rules []struct {
			Alert, Expr string
			For         string
			Labels      map[string]string
			Annotations map[string]string
		}
	}
}

func readAlerts(t *testing.T) (a alerts) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, "alerts.yml")), &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestEveryAlertIsTestedAndExplained(t *testing.T) {
	tests := read(t, "alerts_test.yml")
	n := 0
	for _, g := range readAlerts(t).Groups {
		for _, r := range g.Rules {
			n++
			if !strings.Contains(tests, `"`+r.Alert+`"`) && !strings.Contains(tests, "alertname: "+r.Alert+"\n") {
				t.Errorf("%s has no test", r.Alert)
			}
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s lacks a severity, a summary or a description", r.Alert)
			}
		}
	}
	if n == 0 {
		t.Error("no alerts")
	}
}

// metricsOf returns the names of the metrics in a query.
func metricsOf(t *testing.T, query string, into map[string]string, where string) {
	t.Helper()
	// Grafana's own variables.
	query = strings.NewReplacer("$__rate_interval", "5m", "$__range", "5m").Replace(query)
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok {
			name := s.Name
			for _, m := range s.LabelMatchers {
				if m.Name == model.MetricNameLabel {
					name = m.Value
				}
			}
			into[name] = where
		}
		return nil
	})
}

// usedMetrics are all metrics of the dashboard and the alerts, with a place.
func usedMetrics(t *testing.T) map[string]string {
	t.Helper()
	used := map[string]string{}
	for _, g := range readAlerts(t).Groups {
		for _, r := range g.Rules {
			metricsOf(t, r.Expr, used, r.Alert)
		}
	}
	var dashboard struct {
		SchemaVersion int
		Templating    struct {
			List []struct{ Type, Definition string }
		}
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.SchemaVersion < 39 || len(dashboard.Panels) == 0 || dashboard.Templating.List[0].Type != "datasource" {
		t.Errorf("not the dashboard that was meant: %+v", dashboard)
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			metricsOf(t, target.Expr, used, "panel "+p.Title)
		}
	}
	for _, v := range dashboard.Templating.List[1:] {
		query, _, _ := strings.Cut(strings.TrimPrefix(v.Definition, "label_values("), ", ")
		if strings.Contains(query, "{") {
			query = v.Definition[len("label_values("):strings.LastIndex(v.Definition, ",")]
		}
		metricsOf(t, query, used, "variable "+v.Definition)
	}
	delete(used, "up") // made by who scrapes
	return used
}

// Every metric that the dashboard or an alert asks for is exported by an agent
// to which everything happens: refused, filtered and uncertain samples.
func TestMetricsExist(t *testing.T) {
	used := usedMetrics(t)
	endpoint, err := agenttest.NewEndpoint(agenttest.Options{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer endpoint.Close()
	targets, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer targets.Close()
	// Of a live batch, these words do not tell what is refused; the old timestamp is
	// refused by itself.
	var requests atomic.Int64
	endpoint.RespondIf(func(*agenttest.Incoming) *agenttest.Answer {
		if requests.Add(1)%5 == 0 {
			return &agenttest.Answer{Status: http.StatusBadRequest, Body: "no"}
		}
		return nil
	})
	targets.Add("t", agenttest.TargetOptions{Series: 3, Explicit: []time.Duration{-2 * time.Hour}})
	// A label that is too long is dropped by the agent.
	long := "long{label=\"" + strings.Repeat("x", 20_000) + "\"} 1\n"
	targets.Add("long", agenttest.TargetOptions{Answer: func(w http.ResponseWriter, _ *http.Request, _ int64) bool {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, long)
		return true
	}})
	base, _ := startAgent(t, fmt.Sprintf(`
remote_write:
- name: d
  url: %s
  bearer_token: %s
  queue_config: {batch_send_deadline: 100ms}
  write_relabel_configs: [{source_labels: [__name__], regex: agenttest_gauge, action: drop}]
scrape_configs:
%s`, endpoint.URL(), agenttest.DefaultToken, targets.ScrapeConfig("t", 200*time.Millisecond)), "--web.enable-remote-write-receiver")

	var missing []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		send(t, base)
		exported := exportedMetrics(base)
		missing = slices.DeleteFunc(slices.Sorted(maps.Keys(used)), func(name string) bool { return exported[name] })
		if len(missing) == 0 {
			return
		}
	}
	for _, name := range missing {
		t.Errorf("%s asks for %s, which the agent does not export", used[name], name)
	}
}

// send gives an agent a sample by remote write, if it is ready by now.
func send(t *testing.T, base string) {
	t.Helper()
	series := &remotewrite.Series{Labels: labels.FromStrings(model.MetricNameLabel, "sent", "job", "a program")}
	body, err := remotewrite.NewEncoder(false).Encode(false, []remotewrite.Item{{Series: series, T: time.Now().UnixMilli(), V: 1}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api/v1/write", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("Content-Type", "application/x-protobuf")
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
	}
}

// startAgent runs the program until the test ends, and returns its address and its
// configuration file.
func startAgent(t *testing.T, configuration string, flags ...string) (base, file string) {
	t.Helper()
	dir := t.TempDir()
	file = filepath.Join(dir, "agent.yml")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	flags = append([]string{"--config.file=" + file, "--storage.agent.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address}, flags...)
	agent := exec.Command(agentBinary, flags...)
	var log strings.Builder
	agent.Stderr = &log
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := agent.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := agent.Wait(); err != nil {
			t.Errorf("agent: %v", err)
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return "http://" + address, file
}

// exportedMetrics are the names on /metrics; none while the agent starts.
func exportedMetrics(base string) map[string]bool {
	names := map[string]bool{}
	resp, err := http.Get(base + "/metrics")
	if err != nil {
		return names
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return names
	}
	for line := range strings.Lines(string(body)) {
		if name := regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*`).FindString(line); name != "" {
			names[name] = true
		}
	}
	return names
}
