package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckTargets(t *testing.T) {
	var accept, agentName string
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		accept, agentName = r.Header.Get("Accept"), r.UserAgent()
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, "requests_total{path=\"/\x1b[2J\"} 1\ndebug_a 1\ndebug_b 2\nseen_twice 1\nseen_twice 1\n")
	}))
	defer target.Close()
	address := target.Listener.Addr().String()
	file := write(t, filepath.Join(t.TempDir(), "c.yml"), fmt.Sprintf(`
scrape_configs:
- job_name: good
  static_configs:
  - targets: ['%s']
    labels: {hostile: "\u001b[31m"}
  metric_relabel_configs: [{source_labels: [__name__], regex: debug_a, action: drop}]
- job_name: bad
  metrics_path: /nothing
  static_configs: [{targets: ['%[1]s']}]
- job_name: none
  file_sd_configs: [{files: [none/*.yml]}]
- job_name: dropped
  static_configs: [{targets: ['%[1]s', '127.0.0.1:1']}]
  relabel_configs: [{action: drop}]
remote_write:
- {name: all, url: 'http://127.0.0.1:1/'}
- name: some
  url: http://127.0.0.1:1/
  write_relabel_configs: [{source_labels: [__name__], regex: debug_b, action: drop}]
`, address))
	stdout, stderr, code := runCommand(t, "", "check", "targets", file)
	if code != exitFailed || stderr != "" {
		t.Errorf("code %d, %q", code, stderr)
	}
	compareGolden(t, "check_targets.golden", stdout, filepath.Dir(file), "DIR")
	if !strings.Contains(accept, "application/openmetrics-text") || !strings.HasPrefix(agentName, appName+"/") {
		t.Errorf("the target was asked by %q for %q", agentName, accept)
	}

	file = write(t, filepath.Join(t.TempDir(), "c.yml"), "scrape_configs: [{job_name: good, static_configs: [{targets: ['"+address+"']}]}]\n")
	stdout, stderr, code = runCommand(t, "", "check", "targets", file)
	if code != 0 || stderr != "" {
		t.Errorf("code %d, %q", code, stderr)
	}
	compareGolden(t, "check_targets_good.golden", stdout)
}
