//go:build browser

package browser

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/web"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// longName is one that cannot be broken at a hyphen or a space, as those that
// charts and generators make.
const longName = "kubernetes_pods_of_a_namespace_with_an_uncommonly_long_name_and_then_some_more_of_it_0123456789abcdef"

const hostileLabel = `"><script>document.title='evil'</script>`

// world is an agent with one destination in each state, forty targets that
// answer and one that does not.
type world struct {
	address    string
	failing    *agenttest.Endpoint
	stopServer func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	endpoints := map[string]*agenttest.Endpoint{}
	remoteWrite := ""
	for _, name := range []string{"site-live", "site-behind", "site-failing"} {
		e, err := agenttest.NewEndpoint(agenttest.Options{PlainHTTP: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.Close)
		endpoints[name] = e
		remoteWrite += fmt.Sprintf("- {name: %s, url: %q, bearer_token: %s, queue_config: {batch_send_deadline: 100ms}}\n", name, e.URL(), agenttest.DefaultToken)
	}
	targets, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(targets.Close)
	for i := range 40 {
		targets.Add(fmt.Sprintf("t-%02d", i), agenttest.TargetOptions{Series: 20, Hostile: i == 0})
	}
	cfg, err := scrapeconfig.Load([]byte(fmt.Sprintf(`
global: {scrape_interval: 500ms, scrape_timeout: 500ms}
remote_write:
%sscrape_configs:
- job_name: fleet
  http_sd_configs: [{url: "http://%s/sd"}]
  relabel_configs: [{source_labels: [instance], regex: t-39, action: drop}]
- job_name: %s
  static_configs:
  - {targets: ["%s:1"], labels: {%s: %s}}
  - {targets: ["dropped:1"]}
  relabel_configs: [{source_labels: [__address__], regex: "dropped.*", action: drop}, {source_labels: [instance], target_label: %s_too, replacement: %s}]
- job_name: broken
  static_configs: [{targets: ["127.0.0.1:1"], labels: {note: %q}}]
  relabel_configs:
  - {target_label: rack, replacement: rack-9}
  - {regex: nothing, action: labeldrop}
`, remoteWrite, targets.Addr(), longName, strings.ReplaceAll(longName, "_", ""), longName, longName, longName, longName, hostileLabel)), "browser.yml", log.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	// With the long stay, a destination that was in trouble is shown as behind.
	a, err := agent.New(agent.Options{StoragePath: t.TempDir(), MaxClockWait: -1, MinStay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	background(t, func(ctx context.Context) error { return a.Run(ctx, cfg) })
	states := func(want ...string) func() bool {
		return func() bool {
			for _, d := range a.Status().Destinations {
				kind := string(d.State)
				if kind == string(delivery.Behind) && d.Failing() {
					kind = "failing"
				}
				if wanted := map[string]string{"site-live": want[0], "site-behind": want[1], "site-failing": want[2]}[d.Name]; kind != wanted {
					return false
				}
			}
			return a.Ready()
		}
	}
	await(t, "all are live", states("live", "live", "live"))
	endpoints["site-behind"].Respond(agenttest.EmptyRing())
	endpoints["site-failing"].SetToken(agenttest.DefaultTenant)
	await(t, "two are in trouble", states("live", "failing", "failing"))
	endpoints["site-behind"].Recover()
	await(t, "one of them catches up", states("live", "behind", "failing"))

	s, err := web.New(web.Options{
		Agent: a, Gatherer: a.Gatherer(), PrintConfig: scrapeconfig.Print, ListenAddresses: []string{"127.0.0.1:0"},
		Flags: map[string]string{"config.file": "/etc/opstrace-agent/opstrace-agent.yml", "web.listen-address": "127.0.0.1:9095"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	w := &world{address: "http://" + s.Addrs()[0].String(), failing: endpoints["site-failing"]}
	w.stopServer = background(t, s.Run)
	return w
}

// mendFailing gives the locked-out agent its token back.
func (w *world) mendFailing() {
	w.failing.SetToken(agenttest.DefaultTenant, agenttest.DefaultToken)
}

// background runs f until stop is called or the test ends.
func background(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
