package main

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestStatus asks an agent in a process of its own: one that delivers, one
// whose endpoint refuses, and one that is gone.
func TestStatus(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, agenttest.Options{PlainHTTP: true, Tokens: map[string]string{"default": ""}})
	targets, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer targets.Close()
	targets.Add("a", agenttest.TargetOptions{Series: 3})
	dir := t.TempDir()
	config := fmt.Sprintf("scrape_configs:\n%sremote_write: [{name: opstrace-default, url: '%s'}]\n", targets.ScrapeConfig("job", 100e6), e.URL())
	r := start(t, nil,
		"--config.file="+write(t, filepath.Join(dir, "c.yml"), config),
		"--storage.agent.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")

	var stdout, stderr string
	var code int
	status := func(flags ...string) int {
		stdout, stderr, code = runCommand(t, "", append([]string{"status", "--url=" + r.url}, flags...)...)
		return code
	}
	r.eventually("it is healthy and has delivered", func() bool {
		return status() == 0 && strings.Contains(stdout, "opstrace-default: live for ") && strings.Contains(stdout, "\n  delivered ")
	})
	if !strings.HasPrefix(stdout, "All is well\nhealthy, up for ") || !strings.HasSuffix(stdout, "\ntargets: 1 up\n") || stderr != "" {
		t.Errorf("got\n%s%s", stdout, stderr)
	}

	e.Respond(agenttest.Answer{Status: 401, Body: "bad authentication token"})
	problem := regexp.MustCompile(`^opstrace-default takes nothing(, the oldest sample waits for [^:]+)?: server returned HTTP status 401 Unauthorized: bad authentication token$`)
	r.eventually("it is degraded", func() bool { return status("--json") == exitFailed })
	var view struct {
		URL, Health  string
		Problems     []string
		Ready        bool
		Destinations []struct{ Name, State string }
		Targets      struct{ Up, Down int }
	}
	if err := json.Unmarshal([]byte(stdout), &view); err != nil {
		t.Fatalf("%s: %s", err, stdout)
	}
	if stderr != "" || view.URL != r.url || view.Health != "degraded" || len(view.Problems) != 1 || !problem.MatchString(view.Problems[0]) ||
		!view.Ready || view.Destinations[0].State != "behind" || view.Targets.Up != 1 {
		t.Errorf("got %+v, %q", view, stderr)
	}

	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.done
	host := strings.TrimPrefix(r.url, "http://")
	want := fmt.Sprintf("error: cannot ask the agent at %s: dial tcp %s: connect: connection refused\nhint: is it running? If it listens on another address, name that with --url\n", r.url, host)
	if status() != 2 || stdout != "" || stderr != want {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
	if status("--json") != 2 || !strings.Contains(stdout, `"health": "unreachable"`) {
		t.Errorf("code %d, %q", code, stdout)
	}
}

func TestStatusErrors(t *testing.T) {
	other := httptest.NewServer(nil)
	defer other.Close()
	absent := filepath.Join(t.TempDir(), "absent.yml")
	for _, tc := range []struct{ args, want string }{
		{"--url=localhost:9095", "error: --url=localhost:9095 is not an http or https URL\nhint: write it like http://127.0.0.1:9095, or like unix:/run/opstrace-agent/agent.sock for a socket\n"},
		{"--http.config.file=" + absent, "error: --http.config.file: open " + absent + ": no such file or directory\nhint: create what is missing, or correct the path\n"},
		{"--url=" + other.URL, "error: cannot ask the agent at " + other.URL + ": HTTP 404 Not Found: 404 page not found\nhint: something else answers there, or the agent runs with --web.route-prefix: put that into --url\n"},
	} {
		stdout, stderr, code := runCommand(t, "", "status", tc.args)
		if code != 2 || stdout != "" || stderr != tc.want {
			t.Errorf("%s: code %d, %q, %q", tc.args, code, stdout, stderr)
		}
	}
}
