package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestForgetCommand: a destination that a reload takes out of the configuration is
// shown everywhere as kept, gets all when it is back, and is dropped when somebody
// says so.
func TestForgetCommand(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, agenttest.Options{PlainHTTP: true, Tokens: map[string]string{"default": ""}})
	targets, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer targets.Close()
	targets.Add("a", agenttest.TargetOptions{Series: 3})
	dir := t.TempDir()
	jobs := "scrape_configs:\n" + targets.ScrapeConfig("job", 100e6)
	good := jobs + fmt.Sprintf("remote_write:\n- {name: dead, url: 'http://127.0.0.1:1/push'}\n- {name: good, url: '%s', queue_config: {batch_send_deadline: 200ms}}\n", e.URL())
	without := strings.Replace(good, "- {name: dead, url: 'http://127.0.0.1:1/push'}\n", "", 1)
	none := jobs + "remote_write: []\n"
	file := write(t, filepath.Join(dir, "c.yml"), good)
	r := start(t, nil, "--config.file="+file, "--storage.agent.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	run := func(args ...string) (string, string, int) {
		return runCommand(t, "", append(args, "--url="+r.url)...)
	}
	reload := func(text string) {
		t.Helper()
		write(t, file, text)
		if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusOK {
			t.Fatalf("%d %s", code, body)
		}
	}
	r.eventually("both have something", func() bool {
		stdout, _, _ := run("status")
		return strings.Count(stdout, "\n  appended ") == 2 && strings.Contains(stdout, "\n  delivered ")
	})

	if _, stderr, code := run("forget", "dead"); code != exitFailed || stderr != "error: destination \"dead\": the configuration still names it\nhint: take it out of the configuration and reload first\n" {
		t.Errorf("one that is configured: %d %s", code, stderr)
	}
	reload(without)
	stdout, _, code := run("status")
	if code != exitFailed || !regexp.MustCompile(`\ndead: gone from the configuration, kept for \S+ \S+, until \d{4}-`).MatchString(stdout) || !strings.Contains(stdout, "\n  warn: dead is gone from the configuration: ") {
		t.Errorf("%d\n%s", code, stdout)
	}
	if _, page := r.get("/"); !strings.Contains(page, `data-kept="dead"`) || !strings.Contains(page, "kept for <time") {
		t.Error("the page does not show it")
	}
	if n := r.metric(`opstrace_agent_delivery_kept_samples{destination="dead"}`); n == "" || n == "0" {
		t.Errorf("the metric has %q", n)
	}
	if _, stderr, code := run("forget", "other"); code != exitFailed || stderr != "error: destination \"other\": nothing is kept under this name\nhint: gone from the configuration: \"dead\"\n" {
		t.Errorf("one that is not there: %d %s", code, stderr)
	}
	stdout, stderr, code := run("forget", "dead")
	if code != 0 || stderr != "" || !regexp.MustCompile(`^Dropped [1-9][0-9,]* samples that were kept for dead\.\n$`).MatchString(stdout) {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
	if n := r.metric("opstrace_agent_delivery_forgotten_samples_total"); n == "" || n == "0" {
		t.Errorf("the metric has %q", n)
	}

	reload(none)
	stdout, _, _ = run("status")
	if !strings.Contains(stdout, "\ngood: gone from the configuration, kept for ") {
		t.Errorf("nothing of what is gone:\n%s", stdout)
	}
	reload(without)
	r.eventually("it is back", func() bool {
		stdout, _, code := run("status")
		return code == 0 && strings.Contains(stdout, "\ngood: live for ")
	})
	if lost := e.Snapshot().Lost(); len(lost) > 0 {
		t.Errorf("%d samples were lost", len(lost))
	}
}
