package targetcheck

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

func newTargets(t *testing.T) *agenttest.Targets {
	t.Helper()
	targets, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(targets.Close)
	return targets
}

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, err := scrapeconfig.Load([]byte(text), filepath.Join(t.TempDir(), "agent.yml"), log.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func check(t *testing.T, cfg *config.Config) *Report {
	t.Helper()
	r, err := Run(t.Context(), cfg, Options{DiscoveryTimeout: 10 * time.Second, Progress: func(int, int, string) {}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// page serves a fixed exposition.
func page(t *testing.T, text string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, text)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func static(job, address string, settings ...string) string {
	text := fmt.Sprintf("  - job_name: %s\n    static_configs: [{targets: ['%s']}]\n", job, address)
	for _, s := range settings {
		text += "    " + s + "\n"
	}
	return text
}

func TestCounts(t *testing.T) {
	address := page(t, "a 1\nb 2\nc 3\nd 4\nd 5\n# scrape's own name, from a target\nscrape_samples_scraped 77\n")
	r := check(t, load(t, `
global:
  external_labels: {site: edge}
scrape_configs:
`+static("page", address, "metric_relabel_configs: [{source_labels: [__name__], regex: a, action: drop}]")+`
remote_write:
  - {name: all, url: 'http://127.0.0.1:1/'}
  - name: some
    url: http://127.0.0.1:1/
    write_relabel_configs: [{source_labels: [site, __name__], regex: edge;(b|up), action: drop}]
  - {name: second, url: 'http://127.0.0.1:1/', protobuf_message: io.prometheus.write.v2.Request}
  - {name: tiny, url: 'http://127.0.0.1:1/', queue_config: {max_samples_per_send: 1}}
`))
	if r.Failed() || len(r.Jobs) != 1 || len(r.Jobs[0].Targets) != 1 {
		t.Fatalf("got %+v", r)
	}
	got := r.Jobs[0].Targets[0]
	if want := "http://" + address + "/metrics"; got.URL != want {
		t.Errorf("got URL %s", got.URL)
	}
	if want := `{instance="` + address + `", job="page"}`; got.Labels.String() != want {
		t.Errorf("got labels %s", got.Labels)
	}
	if got.Scraped != 6 || got.Kept != 5 || got.NotTaken != 1 || got.Took <= 0 {
		t.Errorf("got %+v", got)
	}
	const own = 5
	for i, want := range []Send{{Samples: 4 + own}, {Samples: 2 + own, Dropped: 2}, {Samples: 4 + own}, {Samples: 4 + own}} {
		s := got.Sends[i]
		if s.Samples != want.Samples || s.Dropped != want.Dropped || s.Bytes < 50 {
			t.Errorf("%s: got %+v, want %+v", r.Destinations[i], s, want)
		}
	}
	if all, tiny := got.Sends[0].Bytes, got.Sends[3].Bytes; tiny <= all {
		t.Errorf("small requests have %d bytes, one large %d", tiny, all)
	}
}

func TestNativeHistograms(t *testing.T) {
	targets := newTargets(t)
	targets.Add("native", agenttest.TargetOptions{Histograms: 3, FloatHistograms: 2, Exemplars: true})
	r := check(t, load(t, "scrape_configs:\n"+targets.ScrapeConfig("native", time.Second)+`
    scrape_native_histograms: true
remote_write:
  - {name: without, url: 'http://127.0.0.1:1/'}
  - {name: with, url: 'http://127.0.0.1:1/', send_native_histograms: true, send_exemplars: true}
`))
	got := r.Jobs[0].Targets[0]
	if got.Err != nil {
		t.Fatal(got.Err)
	}
	without, with := got.Sends[0], got.Sends[1]
	if without.Histograms != 5 || with.Histograms != 0 || with.Samples != without.Samples+5 {
		t.Errorf("got %+v and %+v", without, with)
	}
}

// TestScrapesOnce: every target is scraped, and short intervals count once.
func TestScrapesOnce(t *testing.T) {
	t.Parallel()
	targets := newTargets(t)
	for i := range 50 {
		targets.Add(fmt.Sprintf("t%02d", i), agenttest.TargetOptions{Series: 10})
	}
	targets.Add("slow", agenttest.TargetOptions{Delay: 5 * time.Second}) // within ten seconds, not within three
	cfg := load(t, "scrape_configs:\n"+targets.ScrapeConfig("many", 3*time.Second)+
		static("hourly", targets.Addr(), "scrape_interval: 1h", "metrics_path: /t/slow/metrics")+
		"remote_write: [{name: d, url: 'http://127.0.0.1:1/'}]\n")

	var mu sync.Mutex
	last := map[string][2]int{}
	r, err := Run(t.Context(), cfg, Options{DiscoveryTimeout: time.Second, Progress: func(done, total int, what string) {
		mu.Lock()
		defer mu.Unlock()
		last[what] = [2]int{done, total}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if last["jobs"] != [2]int{2, 2} || last["targets"] != [2]int{52, 52} {
		t.Errorf("got progress %v", last)
	}
	if len(r.Jobs[0].Targets) != 51 {
		t.Fatalf("got %d targets", len(r.Jobs[0].Targets))
	}
	timedOut := 0
	for _, target := range r.Jobs[0].Targets {
		if target.Err != nil {
			timedOut++
			continue
		}
		if s := target.Sends[0].Samples; s < 15 || target.Scraped != s-5 {
			t.Errorf("got %d samples of %d", s, target.Scraped)
		}
	}
	if timedOut != 1 || r.Jobs[1].Targets[0].Err != nil {
		t.Errorf("%d targets failed; hourly: %v", timedOut, r.Jobs[1].Targets[0].Err)
	}
}

func TestFailures(t *testing.T) {
	closed := page(t, "")
	gone := httptest.NewServer(http.NotFoundHandler())
	notFound := gone.Listener.Addr().String()
	t.Cleanup(gone.Close)
	dead := httptest.NewServer(nil)
	refused := dead.Listener.Addr().String()
	dead.Close()

	text := "scrape_configs:\n" +
		static("empty", closed) +
		static("not found", notFound) +
		static("refused", refused) +
		static("garbage", page(t, "<html>\n")) +
		static("limit", page(t, "a 1\nb 2\n"), "sample_limit: 1") +
		static("targets", closed, "relabel_configs: [{target_label: __address__, replacement: ''}]") +
		static("dropped", closed, "relabel_configs: [{action: drop}]") +
		static("credentials", closed, "tls_config: {ca_file: /nonexistent/ca.pem}") +
		"remote_write: [{name: d, url: 'http://127.0.0.1:1/'}]\n"
	r := check(t, load(t, text))
	if !r.Failed() {
		t.Error("not failed")
	}
	got := map[string]string{}
	for _, job := range r.Jobs {
		line := strings.Join(job.Failures, "; ")
		for _, target := range job.Targets {
			if target.Err != nil {
				line += target.Err.Error()
			}
			if target.Sends[0].Samples < 5 {
				t.Errorf("%s: the scrape's own samples are missing: %+v", job.Name, target.Sends)
			}
		}
		if job.Dropped > 0 {
			line += fmt.Sprintf("%d dropped", job.Dropped)
		}
		got[job.Name] = line
	}
	for job, want := range map[string]string{
		"empty":       "",
		"not found":   "server returned HTTP status 404 Not Found",
		"refused":     fmt.Sprintf(`Get "http://%s/metrics": dial tcp %[1]s: connect: connection refused`, refused),
		"garbage":     `expected a valid start token, got "<" ("INVALID") while parsing: "<"`,
		"limit":       "sample limit exceeded",
		"targets":     "cannot make a target: instance 0 in group 0: no address",
		"dropped":     "1 dropped",
		"credentials": "cannot be scraped: unable to read CA cert: unable to read file /nonexistent/ca.pem: open /nonexistent/ca.pem: no such file or directory",
	} {
		if got[job] != want {
			t.Errorf("%s: got %q, want %q", job, got[job], want)
		}
	}
}

func TestNothingToDo(t *testing.T) {
	r := check(t, load(t, "remote_write: [{name: d, url: 'http://127.0.0.1:1/'}]\n"))
	if r.Failed() || len(r.Jobs) != 0 {
		t.Errorf("got %+v", r)
	}
}

func TestDiscoveries(t *testing.T) {
	targets := newTargets(t)
	targets.Add("a", agenttest.TargetOptions{})
	targets.Add("b", agenttest.TargetOptions{})
	dir := t.TempDir()
	for name, content := range map[string]string{
		"one.yml":     "- targets: ['" + targets.Addr() + "']\n",
		"two.json":    `[{"targets": ["` + targets.Addr() + `"], "labels": {"from": "json"}}]`,
		"bad.yml":     "targets: {\n",
		"dup.dup.yml": "- targets: ['" + targets.Addr() + "', '" + targets.Addr() + "']\n  labels: {twice: 'yes'}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := check(t, load(t, `
scrape_configs:
  - job_name: http
    http_sd_configs: [{url: 'http://`+targets.Addr()+`/sd'}]
  - job_name: files
    file_sd_configs:
      - files: [`+dir+`/*.yml, `+dir+`/*.json]
      - files: [`+dir+`/none/*.yml]
  - job_name: no answer
    http_sd_configs: [{url: 'http://`+targets.Addr()+`/nothing'}]
`))
	for i, want := range []struct {
		targets         int
		failures, notes string
	}{
		{2, "", ""},
		{3, "file_sd_configs: Error reading file " + dir + "/bad.yml: ", "file_sd_configs: no file matches " + dir + "/none/*.yml"},
		{0, "http_sd_configs: Unable to refresh target groups: server returned HTTP status 404 Not Found", ""},
	} {
		job := r.Jobs[i]
		if len(job.Targets) != want.targets {
			t.Errorf("%s: got %d targets", job.Name, len(job.Targets))
		}
		if got := strings.Join(job.Failures, "; "); !strings.HasPrefix(got, want.failures) || (got == "") != (want.failures == "") {
			t.Errorf("%s: got failures %q, want %q", job.Name, got, want.failures)
		}
		if got := strings.Join(job.Notes, "; "); got != want.notes {
			t.Errorf("%s: got notes %q", job.Name, got)
		}
	}
}

func TestSilentDiscovery(t *testing.T) {
	block := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-block }))
	defer s.Close()
	defer close(block)
	cfg := load(t, "scrape_configs:\n  - job_name: silent\n    http_sd_configs: [{url: '"+s.URL+"'}]\n")
	r, err := Run(t.Context(), cfg, Options{DiscoveryTimeout: 200 * time.Millisecond, Progress: func(int, int, string) {}})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(r.Jobs[0].Failures, "; "); got != "http_sd_configs: no answer within 200ms" {
		t.Errorf("got %q", got)
	}
}
