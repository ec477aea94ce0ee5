package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// configWith has a destination that nobody answers for and one target, which
// nobody answers for either.
func configWith(job string) string {
	return fmt.Sprintf(`
remote_write:
- {name: dead, url: "http://127.0.0.1:1/push"}
scrape_configs:
- job_name: %s
  scrape_interval: 100ms
  scrape_timeout: 100ms
  static_configs: [{targets: ["127.0.0.1:1"]}]
`, job)
}

func startWith(t *testing.T, env []string, flags ...string) (r *running, configFile string) {
	t.Helper()
	dir := t.TempDir()
	configFile = write(t, filepath.Join(dir, "prometheus.yml"), configWith("first"))
	args := append([]string{"--agent", "--config.file=" + configFile, "--storage.agent.path=" + filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0"}, flags...)
	return start(t, env, args...), configFile
}

func (r *running) hasPool(job string) bool {
	r.t.Helper()
	_, body := r.get("/api/v1/targets?state=active")
	return strings.Contains(body, `"scrapePool":"`+job+`"`)
}

// The life of a process with the command line of a Prometheus agent and an
// endpoint that is dead.
func TestRun(t *testing.T) {
	r, _ := startWith(t, nil, "--web.console.templates=consoles", "--storage.remote.flush-deadline=1m", "--enable-feature=native-histograms", "--web.enable-remote-write-receiver")
	r.eventually("its target is known", func() bool { return r.hasPool("first") })
	for series, want := range map[string]string{
		"opstrace_agent_config_last_reload_successful": "1",
		`prometheus_remote_storage_samples_in_total`:   "", // from the default registry
		"go_goroutines":                                               "",
		"opstrace_agent_written_bytes_total":                          "",
		"process_resident_memory_bytes":                               "",
		"opstrace_agent_config_last_reload_success_timestamp_seconds": "",
	} {
		got := r.metric(series)
		if got == "" || want != "" && got != want {
			t.Errorf("%s is %q", series, got)
		}
	}
	r.metricsInDocuments()
	for _, notice := range []string{
		"--agent does nothing here: this program is always an agent",
		"--web.console.templates does nothing here: an agent has no consoles",
		"--storage.remote.flush-deadline does nothing here: ",
		"--enable-feature=native-histograms does nothing here: ",
	} {
		r.awaitLog(notice)
	}
	if strings.Contains(r.log.String(), "error gathering metrics") {
		t.Error("the registries collide")
	}
	r.signal(syscall.SIGTERM)
	if code, took := r.wait(); code != 0 {
		t.Errorf("code %d after %s", code, took)
	}
}

// metricsInDocuments holds the table of metrics against what is served, and every
// metric that is named against that. Of some metrics nothing is served before something
// was lost.
func (r *running) metricsInDocuments() {
	r.t.Helper()
	_, body := r.get("/metrics")
	var served []string
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (opstrace_agent_\S+) `).FindAllStringSubmatch(body, -1) {
		served = append(served, m[1])
	}
	for _, reason := range []string{"refused", "filtered", "uncertain", "rejected"} {
		served = append(served, "opstrace_agent_delivery_"+reason+"_samples_total")
	}
	served = append(served, "opstrace_agent_limits_dropped_samples_total", "opstrace_agent_limits_worst_targets_dropped_samples")
	served = append(served, "opstrace_agent_delivery_kept_samples")
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(opstrace_agent_[a-z_]+)` \\| ").FindAllStringSubmatch(page(r.t, "monitoring.md"), -1) {
		documented = append(documented, m[1])
	}
	slices.Sort(served)
	slices.Sort(documented)
	if served = slices.Compact(served); !slices.Equal(served, documented) {
		r.t.Errorf("documented are\n%s\nserved are\n%s", documented, served)
	}
	served = append(served, "opstrace_agent_check") // what check push --write sends
	for _, m := range regexp.MustCompile(`(?m)^# TYPE ((?:prometheus|process|go)_\S+) `).FindAllStringSubmatch(body, -1) {
		served = append(served, m[1])
	}
	named := regexp.MustCompile(`\b(?:opstrace_agent|prometheus|process)_[a-z_]+\*?`)
	for _, d := range documents(r.t) {
		for _, code := range d.code() {
			for _, name := range named.FindAllString(code, -1) {
				prefix, many := strings.CutSuffix(name, "*")
				if !slices.ContainsFunc(served, func(s string) bool { return s == name || many && strings.HasPrefix(s, prefix) }) {
					r.t.Errorf("%s: nothing serves %s", d.path, name)
				}
			}
		}
	}
}

// startHanging starts an agent whose reload waits for ever for a scrape, and this for its
// header, by a pipe that nobody writes to: the one file that cannot be guarded.
func startHanging(t *testing.T) *running {
	t.Helper()
	dir := t.TempDir()
	header := write(t, filepath.Join(dir, "header"), "secret")
	file := filepath.Join(dir, "c.yml")
	write(t, file, configWith("first")+"  http_headers: {X-A: {files: ["+header+"]}}\n")
	r := start(t, nil, "--config.file="+file, "--storage.agent.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	if err := os.Remove(header); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(header, 0o600); err != nil {
		t.Fatal(err)
	}
	r.eventually("it reads the header", func() bool {
		// This can be opened only while somebody reads the other end.
		f, err := os.OpenFile(header, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			t.Cleanup(func() { f.Close() })
		}
		return err == nil
	})
	// The job, which is without its header now, comes after the destinations.
	write(t, file, strings.Replace(configWith("first"), "scrape_configs:", "- {name: second, url: \"http://127.0.0.1:1/second\"}\nscrape_configs:", 1))
	r.signal(syscall.SIGHUP)
	r.awaitLog("destination=second")
	return r
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	r := startHanging(t)
	r.signal(syscall.SIGTERM)
	r.awaitLog("msg=Stopping ")
	r.signal(syscall.SIGINT)
	if code, took := r.wait(); code != exitFailed {
		t.Errorf("code %d after %s", code, took)
	}
	if !strings.Contains(r.log.String(), `err="ended by a second signal (interrupt) before everything had stopped"`) {
		t.Error("the log does not tell why")
	}
}

func TestStopDeadline(t *testing.T) {
	t.Parallel()
	r := startHanging(t)
	r.signal(syscall.SIGTERM)
	if code, took := r.wait(); code != exitFailed || took < stopDeadline-time.Second {
		t.Errorf("code %d after %s", code, took)
	}
	if !strings.Contains(r.log.String(), `err="ended by force: not everything had stopped after 5s"`) {
		t.Error("the log does not tell why")
	}
}

func TestReload(t *testing.T) {
	r, file := startWith(t, nil)
	r.eventually("the first configuration is in force", func() bool { return r.hasPool("first") })

	write(t, file, configWith("second"))
	if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	r.eventually("the second configuration is in force", func() bool { return r.hasPool("second") && !r.hasPool("first") })

	write(t, file, configWith("third")+"rule_files: [a.yml]\n")
	want := fmt.Sprintf("failed to reload config: %s:9: field rule_files is not allowed in agent mode\nhint: ", file)
	if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusInternalServerError || !strings.HasPrefix(body, want) {
		t.Errorf("%d %q", code, body)
	}
	if got := r.metric("opstrace_agent_config_last_reload_successful"); got != "0" {
		t.Errorf("last_reload_successful is %s after a refused file", got)
	}
	logged := fmt.Sprintf(`msg="Cannot reload the configuration; the old one keeps running" source=HTTP err="%s:9: field rule_files is not allowed in agent mode" hint=`, file)
	r.awaitLog(logged)
	if !r.hasPool("second") || r.hasPool("third") {
		t.Error("the old configuration does not keep running")
	}
	if code, _ := r.get("/-/ready"); code != http.StatusOK {
		t.Errorf("/-/ready: %d after a refused file", code)
	}

	write(t, file, configWith("fourth"))
	r.signal(syscall.SIGHUP) // the endpoint is dead
	r.eventually("the metric tells", func() bool { return r.metric("opstrace_agent_config_last_reload_successful") == "1" })
	r.eventually("the fourth configuration is in force", func() bool { return r.hasPool("fourth") })
}

func TestAutoReload(t *testing.T) {
	r, file := startWith(t, nil, "--config.auto-reload", "--config.auto-reload-interval=1s")
	r.eventually("the first configuration is in force", func() bool { return r.hasPool("first") })
	write(t, file, "global: 5\n")
	r.eventually("the bad file is refused", func() bool { return r.metric("opstrace_agent_config_last_reload_successful") == "0" })
	if !r.hasPool("first") {
		t.Error("the old configuration does not keep running")
	}
	write(t, file, configWith("first"))
	r.eventually("the old file is good again", func() bool { return r.metric("opstrace_agent_config_last_reload_successful") == "1" })
	included := write(t, filepath.Join(filepath.Dir(file), "more.yml"), "scrape_configs: [{job_name: included}]\n")
	write(t, file, configWith("second")+"scrape_config_files: [more.yml]\n")
	r.eventually("the second configuration is in force", func() bool { return r.hasPool("second") })
	write(t, included, "scrape_configs: [{job_name: changed, static_configs: [{targets: ['127.0.0.1:1']}]}]\n")
	r.eventually("a changed scrape_config_files is in force", func() bool { return r.hasPool("changed") })
}

func TestReloadedLogLevel(t *testing.T) {
	r, file := startWith(t, nil, "--log.format=json")
	if strings.Contains(r.log.String(), `"level":"debug"`) {
		t.Error("logs debug at level info")
	}
	write(t, file, configWith("first")+"runtime: {log_level: debug, gogc: 80}\n")
	if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	r.awaitLog(`"level":"debug","msg":"GOGC changed","new":80`)
}
