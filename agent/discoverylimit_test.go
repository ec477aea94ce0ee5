package agent_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	_ "github.com/prometheus/prometheus/discovery/http" // the configuration knows it

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/limits"
)

// TestEndlessDiscovery: a discovery that answers without an end costs its own refresh.
// What it has named before is scraped on, and what it names afterwards is taken up.
func TestEndlessDiscovery(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 10})
	var endless atomic.Bool
	var sent atomic.Int64
	sd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if !endless.Load() {
			port := 1
			if sent.Load() > 0 {
				port = 2
			}
			fmt.Fprintf(w, `[{"targets": ["127.0.0.1:%d"]}]`, port)
			return
		}
		_, _ = w.Write([]byte(`[{"targets": [`))
		for chunk := []byte(strings.Repeat(`"127.0.0.1:1",`, 1<<10)); ; {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil || sent.Load() > 256<<20 {
				return
			}
		}
	}))
	t.Cleanup(sd.Close)
	r.jobs = fmt.Sprintf("\n  - job_name: found\n    http_sd_configs: [{url: '%s', refresh_interval: 1s}]\n", sd.URL)
	r.options.Limits = limits.Limits{BodySize: 8 << 20}
	r.start()
	r.awaitState("one", delivery.Live)
	found := func(target string) {
		t.Helper()
		r.eventually("a list to be taken", func() error {
			b, _, err := r.get("/targets")
			if err != nil || !strings.Contains(string(b), target+": ") {
				return fmt.Errorf("%v: %s", err, b)
			}
			return nil
		})
	}
	found("127.0.0.1:1")
	endless.Store(true)
	r.eventually("the answer to be refused", func() error {
		if !strings.Contains(r.log.String(), "the answer has more than 2097152 bytes") {
			return fmt.Errorf("%d bytes sent", sent.Load())
		}
		return nil
	})
	found("127.0.0.1:1")
	endless.Store(false)
	found("127.0.0.1:2")
	r.awaitAll(r.endpoint, one)
}
