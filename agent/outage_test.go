package agent_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// settleMargin is how long after a target has answered its scrape is surely
// committed: only what was committed before a kill can be asked for.
const settleMargin = 500 * time.Millisecond

func TestHealthy(t *testing.T) {
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 50})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 20)
	r.awaitAll(r.endpoint, time.Now().Add(-settleMargin), one)
	if took := r.stop(); took > 5*time.Second {
		t.Errorf("the agent took %s to stop", took)
	}
	before := time.Now().Add(-settleMargin)
	// What was not flushed comes after the restart; nothing comes twice.
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitAll(r.endpoint, before, one)
	r.awaitScrapes(one, 5)
	if s := r.endpoint.Snapshot(); s.Duplicates > 0 {
		t.Errorf("%d samples arrived twice after a clean stop with a healthy endpoint", s.Duplicates)
	}
}

func TestRestartDuringOutage(t *testing.T) {
	for _, how := range []string{"SIGTERM", "SIGKILL"} {
		t.Run(how, func(t *testing.T) {
			r := newRig(t, agenttest.Manners{})
			one := r.targets.Add("one", agenttest.TargetOptions{Series: 50})
			two := r.targets.Add("two", agenttest.TargetOptions{Series: 5, Churn: 2})
			r.start()
			r.awaitState("one", delivery.Live)
			r.awaitScrapes(one, 10)
			if err := r.endpoint.Down(); err != nil {
				t.Fatal(err)
			}
			r.awaitScrapes(one, 10)
			cut := time.Now().Add(-settleMargin)
			if how == "SIGTERM" {
				if took := r.stop(); took > 5*time.Second {
					t.Errorf("the agent took %s to stop with a dead endpoint", took)
				}
			} else {
				r.kill()
			}
			r.start()
			r.awaitScrapes(one, 10)
			if err := r.endpoint.Up(); err != nil {
				t.Fatal(err)
			}
			r.awaitState("one", delivery.Live)
			r.awaitScrapes(one, 5)
			after := time.Now().Add(-settleMargin)
			r.eventually("every scrape to arrive", func() error {
				s := r.endpoint.Snapshot()
				for _, target := range []*agenttest.Target{one, two} {
					if gaps := s.Scrapes(target, "", cut).Missing; len(gaps) > 0 {
						return fmt.Errorf("%s: %d missing: %v", target.Name, len(gaps), gaps)
					}
					// Scrapes on their way when the process ended are not the agent's.
					if missing := len(s.Scrapes(target, "", after).Missing); missing > 4 {
						return fmt.Errorf("%s: %d missing", target.Name, missing)
					}
				}
				return nil
			})
			r.checkNothingLost(r.endpoint)
			t.Logf("%d samples arrived twice", r.endpoint.Snapshot().Duplicates)
			r.targets.Remove(one)
			r.targets.Remove(two)
		})
	}
}
