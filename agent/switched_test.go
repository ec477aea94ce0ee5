package agent_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// TestSwitchingTarget: a target, or a discovery, that answers 101 Switching Protocols
// costs its own scrape, or refresh, and neither a reload nor the stop waits for it; nor
// where other answers 1xx come before.
func TestSwitchingTarget(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 10})
	done := make(chan struct{})
	switching := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/metrics" {
			w.WriteHeader(http.StatusEarlyHints)
		}
		if err := agenttest.SwitchProtocols(w, func(net.Conn) { <-done }); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(switching.Close)
	t.Cleanup(func() { close(done) })
	address := strings.TrimPrefix(switching.URL, "http://")
	r.jobs = fmt.Sprintf("\n  - job_name: switches\n    static_configs: [{targets: ['%s']}]\n  - job_name: found\n    http_sd_configs: [{url: '%s', refresh_interval: 1s}]\n", address, switching.URL)
	r.start()
	r.awaitState("one", delivery.Live)
	r.eventually("the scrape to fail", func() error {
		b, _, err := r.get("/targets")
		if err != nil || !strings.Contains(string(b), "101 Switching Protocols") {
			return fmt.Errorf("%v: %s", err, b)
		}
		return nil
	})
	r.eventually("the refresh to fail", func() error {
		for _, line := range strings.Split(r.log.String(), "\n") {
			if strings.Contains(line, "101 Switching Protocols") && strings.Contains(line, "component=discovery") {
				return nil
			}
		}
		return fmt.Errorf("nothing is told of it")
	})
	r.global = "  external_labels: {reloaded: 'yes'}"
	if err := r.reload(); err != nil {
		t.Fatal(err)
	}
	r.jobs = ""
	if err := r.reload(); err != nil {
		t.Fatal(err)
	}
	r.awaitScrapes(one, 3)
	r.stop()
}
