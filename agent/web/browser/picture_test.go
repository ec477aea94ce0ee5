//go:build browser

package browser

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/go-kit/log"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/web"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// TestPicture takes the picture for the documents, PICTURE=packaging/doc/page.png:
// an agent that has just got over an outage of one of its two endpoints. It takes
// minutes.
func TestPicture(t *testing.T) {
	file := os.Getenv("PICTURE")
	if file == "" {
		t.Skip("PICTURE names no file")
	}
	endpoints := map[string]*agenttest.Endpoint{}
	remoteWrite := ""
	for _, name := range []string{"opstrace-default", "opstrace-staging"} {
		e, err := agenttest.NewEndpoint(agenttest.Options{PlainHTTP: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.Close)
		endpoints[name] = e
		remoteWrite += fmt.Sprintf("- {name: %s, url: %q, bearer_token: %s}\n", name, e.URL(), agenttest.DefaultToken)
	}
	targets, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(targets.Close)
	jobs := ""
	for _, job := range []string{"node", "nginx", "postgres"} {
		targets.Add(job, agenttest.TargetOptions{Series: 150})
		jobs += fmt.Sprintf("- {job_name: %s, metrics_path: /t/%[1]s/metrics, static_configs: [{targets: [%q]}]}\n", job, targets.Addr())
	}
	cfg, err := scrapeconfig.Load([]byte("global: {scrape_interval: 1s, scrape_timeout: 1s}\nremote_write:\n"+remoteWrite+"scrape_configs:\n"+jobs), "picture.yml", log.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	a, err := agent.New(agent.Options{StoragePath: t.TempDir(), MaxClockWait: -1, MinStay: time.Second, MaxLiveLag: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	background(t, func(ctx context.Context) error { return a.Run(ctx, cfg) })
	await(t, "it scrapes", a.Ready)
	s, err := web.New(web.Options{Agent: a, Gatherer: a.Gatherer(), PrintConfig: scrapeconfig.Print, ListenAddresses: []string{"127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	background(t, s.Run)
	b := newTab(t)
	// Long enough for curves that have a shape.
	time.Sleep(70 * time.Second)
	endpoints["opstrace-staging"].Respond(agenttest.EmptyRing())
	time.Sleep(70 * time.Second)
	endpoints["opstrace-staging"].Recover()
	time.Sleep(50 * time.Second)
	address := "http://" + s.Addrs()[0].String() + "/"
	b.picture(t, file, widths[0], "light", address, false)
	b.until(t, "the page is there", `document.querySelectorAll('.destination').length === 2`)
	b.run(t, "done", chromedp.Navigate("about:blank"))
}
