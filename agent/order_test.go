package agent_test

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// TestNothingOvertakes: with several scrapes waiting in the queue, the one
// batch that is refused is not overtaken by the next.
func TestNothingOvertakes(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.interval = 100 * time.Millisecond
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 100})
	r.start()
	r.awaitState("one", delivery.Live)
	for range 3 {
		r.endpoint.RespondNext(
			agenttest.Answer{Delay: time.Second}, // meanwhile, scrapes pile up
			agenttest.Answer{Status: 401, Body: "bad authentication token\n"},
		)
		r.awaitScrapes(one, 20)
		r.awaitState("one", delivery.Live)
	}
	r.awaitAll(r.endpoint, one)
	if n := r.endpoint.Snapshot().MaxInFlight; n > 2 {
		t.Errorf("%d requests were in flight at once", n)
	}
}

// TestDoor: a sample that the queue never sends, because it is older than the
// hand-over, is not overtaken by the queue's next sample of its series, however
// long its own request takes.
func TestDoor(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.interval = 100 * time.Millisecond
	one := r.targets.Add("one", agenttest.TargetOptions{Explicit: []time.Duration{-700 * time.Millisecond}})
	r.endpoint.RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
		if in.Write != nil && onlyExplicit(in.Write.Timeseries) {
			return &agenttest.Answer{Delay: time.Second}
		}
		return nil
	})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 40)
	r.awaitStored(r.endpoint, "agenttest_explicit", one)
	r.checkNothingLost(r.endpoint)
}

func onlyExplicit(series []prompb.TimeSeries) bool {
	for _, ts := range series {
		for _, l := range ts.Labels {
			if l.Name == "__name__" && l.Value != "agenttest_explicit" {
				return false
			}
		}
	}
	return len(series) > 0
}
