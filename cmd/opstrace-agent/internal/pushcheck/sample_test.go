package pushcheck

import (
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestSample: the sample that is written on demand, and what an empty write does
// not tell.
func TestSample(t *testing.T) {
	const empty = "ok write: an empty write is accepted: HTTP 200 OK"
	external := Options{Sample: true, External: labels.FromStrings("host", "edge-17")}
	e := open(t, agenttest.Manners{})
	steps, good := runWith(t, destination(t, e.URL()), external)
	expect(t, steps, good, noToken, connected, inTime, empty,
		`ok sample: one sample of {__name__="opstrace_agent_check", host="edge-17", job="opstrace-agent"} is accepted: HTTP 200 OK`)
	if s := e.Snapshot(); s.StoredSeries != 1 {
		t.Errorf("got %s", s)
	}

	// Without it, nothing is stored.
	e = open(t, agenttest.Manners{})
	if _, good := run(t, destination(t, e.URL())); !good || e.Snapshot().StoredSeries != 0 {
		t.Errorf("got %s", e.Snapshot())
	}

	steps, good = runWith(t, destination(t, e.URL(), "write_relabel_configs: [{target_label: a, replacement: b}]"), external)
	expect(t, steps, good, noToken, connected, inTime, empty,
		`ok sample: one sample of {__name__="opstrace_agent_check", a="b", host="edge-17", job="opstrace-agent"} is accepted: HTTP 200 OK`)
	steps, good = runWith(t, destination(t, e.URL(), "write_relabel_configs: [{source_labels: [job], regex: .*agent, action: drop}]"), external)
	expect(t, steps, good, noToken, connected, inTime, empty,
		"note sample: write_relabel_configs drop opstrace_agent_check | nothing was written: keep this metric to have it checked")
	steps, good = runWith(t, destination(t, e.URL()), Options{Sample: true, External: labels.FromStrings("site-id", "x")})
	expect(t, steps[:4], true, noToken, connected, inTime, empty)
	if len(steps) != 5 || good {
		t.Errorf("got %q", steps)
	}
}

// TestSampleOfEmptyRing: an endpoint that can store nothing takes an empty write.
func TestSampleOfEmptyRing(t *testing.T) {
	e := open(t, agenttest.Manners{})
	e.RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
		if in.Samples() == 0 {
			return nil
		}
		answer := agenttest.EmptyRing()
		return &answer
	})
	steps, good := runWith(t, destination(t, e.URL()), Options{Sample: true})
	expect(t, steps, good, noToken, connected, inTime, "ok write: an empty write is accepted: HTTP 200 OK",
		"FAIL sample: HTTP 409 Conflict: 500-to-409: empty ring | the endpoint has trouble of its own, which passes; the agent would keep the samples and try again")
}
