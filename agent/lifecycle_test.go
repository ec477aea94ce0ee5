package agent_test

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/prometheus/prometheus/config"
	"go.uber.org/goleak"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestTwice runs the agent twice in one process: no panic, no goroutine left.
func TestTwice(t *testing.T) {
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 5})
	r.configure()
	before := goleak.IgnoreCurrent()
	for range 2 {
		a, err := agent.New(agent.Options{StoragePath: r.options.StoragePath, SyncInterval: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(r.configFile())
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(string(content), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx, cfg) }()
		r.awaitScrapes(one, 5)
		if !a.Ready() {
			t.Error("not ready")
		}
		if err := a.Alive(time.Second); err != nil {
			t.Error(err)
		}
		if _, err := a.Gatherer().Gather(); err != nil {
			t.Error(err)
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if a.Ready() {
			t.Error("ready after the end")
		}
	}
	r.endpoint.Close()
	r.targets.Close()
	goleak.VerifyNone(t, before)
}
