package agent_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestTwice runs the agent twice in one process: no panic, no goroutine left.
func TestTwice(t *testing.T) {
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 5})
	before := goleak.IgnoreCurrent()
	for range 2 {
		a, stop := r.inProcess(agent.Options{SyncInterval: time.Second})
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
		if a.Ready() {
			t.Error("ready after the end")
		}
	}
	r.endpoint.Close()
	r.targets.Close()
	goleak.VerifyNone(t, before)
}
