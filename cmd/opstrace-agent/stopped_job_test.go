package main

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestStoppedJob: a start goes on without the job that lacks a certificate, and says
// so everywhere; a reload is refused; when the file is there, the job is taken up.
func TestStoppedJob(t *testing.T) {
	t.Parallel()
	sd := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`[{"targets": ["127.0.0.1:1"]}]`))
	}))
	t.Cleanup(sd.Close)
	for name, job := range map[string]string{
		"of its targets": `
- job_name: secured
  scheme: https
  tls_config: {ca_file: %s}
  static_configs: [{targets: ["127.0.0.1:1"]}]
`,
		"of its discovery": `
- job_name: secured
  http_sd_configs: [{url: "` + sd.URL + `", tls_config: {ca_file: %s}, refresh_interval: 1s}]
`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sd.Certificate().Raw})
			jobIsStopped(t, job, string(ca), false)
		})
		t.Run(name+" by a pipe", func(t *testing.T) {
			t.Parallel()
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sd.Certificate().Raw})
			jobIsStopped(t, job, string(ca), true)
		})
	}
}

// jobIsStopped starts an agent with a job, the file named in which comes later:
// it is missing, or somebody has made a pipe in its place.
func jobIsStopped(t *testing.T, job, ca string, pipe bool) {
	t.Helper()
	dir := t.TempDir()
	absent := filepath.Join(dir, "ca.pem")
	if pipe {
		if err := syscall.Mkfifo(absent, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := write(t, filepath.Join(dir, "c.yml"), configWith("first")+fmt.Sprintf(job, absent))
	r := start(t, nil, "--config.file="+file, "--storage.agent.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0", "--scrape.discovery-reload-interval=100ms")
	r.eventually("the other job is scraped", func() bool { return r.hasPool("first") })
	const metric = "opstrace_agent_scrape_jobs_stopped"
	if got := r.metric(metric); got != "1" || r.hasPool("secured") {
		t.Errorf("%s jobs are stopped", got)
	}
	stdout, _, _ := runCommand(t, "", "status", "--url="+r.url)
	if want := "\n  warn: The scrape job secured is left out: "; !strings.Contains(stdout, want) || !strings.Contains(stdout, absent) {
		t.Errorf("the status does not tell:\n%s", stdout)
	}
	if _, page := r.get("/"); !strings.Contains(page, "The scrape job secured is left out: ") {
		t.Error("the page does not tell")
	}
	const said = `msg="A scrape job is left out until the files that it needs can be used" job=secured`
	r.awaitLog(said)
	if n := strings.Count(r.log.String(), said); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusInternalServerError || !strings.Contains(body, `scrape_config "secured": `) || !strings.Contains(body, absent) {
		t.Errorf("a reload: %d %s", code, body)
	}
	if !r.hasPool("first") {
		t.Error("the refused reload stopped the other job")
	}

	putBack(t, absent, ca)
	r.eventually("it is taken up", func() bool { return r.hasPool("secured") && r.metric(metric) == "0" })
	if _, status := r.get("/api/v1/status/delivery"); strings.Contains(status, "stoppedJobs") {
		t.Error(status)
	}
	if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusOK || !r.hasPool("secured") {
		t.Errorf("a reload: %d %s", code, body)
	}
}

// TestFailureLogThatCannotBeOpened: a reload with it is refused, with nothing changed;
// a start goes on without it, says so, and takes it up when it can be opened.
func TestFailureLogThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	logFile := filepath.Join(dir, "logs", "failures.json")
	with := func(job string) string { return configWith(job) + "  scrape_failure_log_file: " + logFile + "\n" }
	file := write(t, filepath.Join(dir, "c.yml"), configWith("before"))
	flags := []string{"--config.file=" + file, "--storage.agent.path=" + filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0", "--scrape.discovery-reload-interval=100ms"}
	r := start(t, nil, flags...)
	r.eventually("the job is scraped", func() bool { return r.hasPool("before") })
	// With another destination, so that it shows whether that has been applied.
	write(t, file, strings.Replace(with("after"), "name: dead", "name: other", 1))
	if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusInternalServerError || !strings.Contains(body, "scrape_failure_log_file") || !strings.Contains(body, logFile) {
		t.Errorf("a reload: %d %s", code, body)
	}
	if s := r.status(); len(s.Destinations) != 1 || s.Destinations[0].Name != "dead" || len(s.Kept) > 0 || !r.hasPool("before") {
		t.Errorf("the refused reload has changed something: %+v", s)
	}
	r.signal(syscall.SIGTERM)
	if code, took := r.wait(); code != 0 {
		t.Errorf("code %d after %s", code, took)
	}

	write(t, file, with("after"))
	r = start(t, nil, flags...)
	r.eventually("the job is scraped", func() bool { return r.hasPool("after") })
	stdout, _, _ := runCommand(t, "", "status", "--url="+r.url)
	if want := "Scrapes that fail are not logged to " + logFile; !strings.Contains(stdout, want) {
		t.Errorf("the status does not tell:\n%s", stdout)
	}
	if _, page := r.get("/"); !strings.Contains(page, "Scrapes that fail are not logged to "+logFile) {
		t.Error("the page does not tell")
	}
	const said = `msg="Scrapes that fail are not logged to their file until it can be opened"`
	r.awaitLog(said)
	if n := strings.Count(r.log.String(), said); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if err := os.Mkdir(filepath.Dir(logFile), 0o750); err != nil {
		t.Fatal(err)
	}
	r.eventually("the failures are logged", func() bool {
		logged, err := os.ReadFile(logFile)
		return err == nil && strings.Contains(string(logged), `"job_name":"after"`) && len(r.status().MissingLogs) == 0
	})
}
