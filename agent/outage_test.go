package agent_test

import (
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

func TestHealthy(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 50})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 20)
	r.awaitAll(r.endpoint, one)
	r.stop()
	// What was not flushed comes after the restart; nothing comes twice.
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 5)
	r.awaitAll(r.endpoint, one)
	if s := r.endpoint.Snapshot(); s.Duplicates > 0 {
		t.Errorf("%d samples arrived twice after a clean stop with a healthy endpoint", s.Duplicates)
	}
}

func TestRestartDuringOutage(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"SIGTERM", "SIGKILL"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			one := r.targets.Add("one", agenttest.TargetOptions{Series: 50})
			two := r.targets.Add("two", agenttest.TargetOptions{Series: 5, Churn: 2})
			r.start()
			r.awaitState("one", delivery.Live)
			r.awaitScrapes(one, 10)
			r.outage(func() {
				r.awaitScrapes(one, 10)
				if how == "SIGTERM" {
					r.stop()
				} else {
					r.kill()
				}
				r.start()
				r.awaitScrapes(one, 10)
			})
			r.awaitState("one", delivery.Live)
			r.awaitScrapes(one, 5)
			r.awaitAll(r.endpoint, one, two)
			t.Logf("%d samples arrived twice", r.endpoint.Snapshot().Duplicates)
		})
	}
}
