package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// delivered is what an agent says of its only destination: how much was delivered,
// and how much is lost.
func (r *running) delivered() (delivered, lost uint64) {
	r.t.Helper()
	_, body := r.get("/api/v1/status/delivery")
	var status struct {
		Data struct {
			Destinations []struct {
				Ledger struct {
					Delivered          uint64
					Refused, Uncertain map[string]uint64
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &status); err != nil || len(status.Data.Destinations) != 1 {
		r.t.Fatalf("%v: %s", err, body)
	}
	ledger := status.Data.Destinations[0].Ledger
	for _, reasons := range []map[string]uint64{ledger.Refused, ledger.Uncertain} {
		for _, n := range reasons {
			lost += n
		}
	}
	return ledger.Delivered, lost
}

// TestTwoHosts: two agents with what init writes deliver everything to one tenant.
func TestTwoHosts(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, agenttest.Options{Tokens: map[string]string{"default": "good"}})
	targets, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(targets.Close)
	targets.Add("a", agenttest.TargetOptions{Series: 10})
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.pem"), string(e.CA()))
	write(t, filepath.Join(dir, "token"), "good\n")
	var agents []*running
	for _, name := range []string{"edge-17", "edge-18"} {
		file := filepath.Join(dir, name+".yml")
		// The machine of the test has one name only.
		if _, stderr, code := runCommand(t, dir, "init", "--cluster=c", "--tenant=default", "--token-file=token", "--label=host="+name, "-o", file); code != 0 {
			t.Fatalf("code %d, %q", code, stderr)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, file, strings.NewReplacer(
			"scrape_interval: 30s", "scrape_interval: 1s",
			"- targets: [127.0.0.1:9095]", "- targets: ['"+targets.Addr()+"']\n    metrics_path: /t/a/metrics",
			"  tenant: default\n", "  tenant: default\n  url: "+e.URL()+"\n  tls_config: {ca_file: ca.pem}\n  queue_config: {batch_send_deadline: 200ms}\n",
		).Replace(string(text)))
		agents = append(agents, start(t, nil, "--config.file="+file, "--storage.agent.path="+filepath.Join(dir, name), "--web.listen-address=127.0.0.1:0"))
	}
	for _, r := range agents {
		r.eventually("a hundred samples are delivered", func() bool { delivered, _ := r.delivered(); return delivered >= 100 })
	}
	for i, r := range agents {
		if delivered, lost := r.delivered(); lost > 0 {
			t.Errorf("agent %d: %d delivered, %d lost", i, delivered, lost)
		}
	}
	if refused := e.Snapshot().Refused; len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
}
