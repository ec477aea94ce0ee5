package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestNothingToDiscover: while all targets are fixed, nothing looks for others. Jobs
// come and go from one way to the other by reloads, without a target lost or a scrape of
// one that is gone.
func TestNothingToDiscover(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	targets, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(targets.Close)
	for _, name := range []string{"a", "b"} {
		targets.Add(name, agenttest.TargetOptions{})
	}
	list := write(t, filepath.Join(dir, "list.yml"), fmt.Sprintf("- targets: [%q]\n", targets.Addr()))
	fixed := fmt.Sprintf("static_configs: [{targets: [%q]}]", targets.Addr())
	found := fmt.Sprintf("file_sd_configs: [{files: [%s]}]", list)
	config := func(a, b string) string {
		return fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s}\nremote_write: [{name: x, url: \"http://127.0.0.1:1/\"}]\nscrape_configs:\n"+
			"- {job_name: a, metrics_path: /t/a/metrics, %s}\n- {job_name: b, metrics_path: /t/b/metrics, %s}\n", a, b)
	}
	file := write(t, filepath.Join(dir, "c.yml"), config(fixed, fixed))
	r := start(t, nil, "--config.file="+file, "--storage.agent.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0", "--scrape.discovery-reload-interval=1s")
	looks := func() bool {
		_, stacks := r.get("/debug/pprof/goroutine?debug=1")
		return strings.Contains(stacks, "discovery.(*Manager).sender")
	}
	scraped := func(urls ...string) func() bool {
		return func() bool {
			_, body := r.get("/api/v1/targets?state=active")
			for _, job := range []string{"a", "b"} {
				if strings.Contains(body, "/t/"+job+"/metrics") != strings.Contains(strings.Join(urls, " "), job) {
					return false
				}
			}
			return strings.Count(body, `"health":"up"`) == len(urls)
		}
	}
	discovered := func(job, n string) {
		t.Helper()
		r.eventually(job+" has "+n+" targets by the metric", func() bool {
			return r.metric(`prometheus_sd_discovered_targets{config="`+job+`",name="scrape"}`) == n
		})
	}
	r.eventually("both are scraped", scraped("a", "b"))
	discovered("a", "1")
	if looks() {
		t.Error("it looks for targets that nothing can bring")
	}
	for _, step := range []struct {
		a, b string
		want []string
	}{
		{fixed, found, []string{"a", "b"}},
		{found, found, []string{"a", "b"}},
		{found, fixed, []string{"a", "b"}},
		{found, "static_configs: []", []string{"a"}},
		{"static_configs: []", found, []string{"b"}},
		{fixed, fixed, []string{"a", "b"}},
	} {
		write(t, file, config(step.a, step.b))
		reloads := strings.Count(r.log.String(), "Configuration reloaded")
		r.signal(syscall.SIGHUP)
		r.eventually("it is reloaded", func() bool { return strings.Count(r.log.String(), "Configuration reloaded") > reloads })
		r.eventually(fmt.Sprintf("%v are scraped with %s and %s", step.want, step.a, step.b), scraped(step.want...))
		for _, job := range step.want {
			discovered(job, "1")
		}
		if !looks() {
			t.Error("it does not look for targets that discovery may bring, or could a moment ago")
		}
	}
}
