package agent_test

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// TestTimestamps: explicit old and future timestamps, stale markers of series
// and targets that vanish, and scrapes slower than the hand-over.
func TestTimestamps(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.interval = 300 * time.Millisecond
	explicit := r.targets.Add("explicit", agenttest.TargetOptions{Explicit: []time.Duration{-10 * time.Minute, 9 * time.Minute}})
	slow := r.targets.Add("slow", agenttest.TargetOptions{Series: 5, Delay: 200 * time.Millisecond})
	gone := r.targets.Add("gone", agenttest.TargetOptions{Series: 5})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(explicit, 10)
	r.outage(func() {
		r.awaitScrapes(explicit, 5)
		marked := r.destination("one").Ledger.Delivered
		r.awaitState("one", delivery.Behind) // not acknowledged for MaxLiveLag
		r.awaitScrapes(explicit, 5)
		if now := r.destination("one").Ledger.Delivered; now > marked {
			t.Errorf("a dead endpoint acknowledged %d samples", now-marked)
		}
		r.targets.Remove(gone)
		r.stop()
		r.start()
		r.awaitScrapes(explicit, 5)
	})
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(explicit, 10)
	r.awaitStored(r.endpoint, "", explicit, slow, gone)
	// Each of the explicit series holds what the counter holds.
	r.awaitStored(r.endpoint, "agenttest_explicit", explicit)
	r.targets.Remove(explicit)
	r.targets.Remove(slow)
	r.awaitLedger("one", r.endpoint)
	r.checkNothingLost(r.endpoint)
}

// TestTooFarAhead: samples dated more than ten minutes ahead are left out by upstream's
// scrapes, and are in the ledger, each of them; those beside them arrive.
func TestTooFarAhead(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	ahead := r.targets.Add("ahead", agenttest.TargetOptions{Explicit: []time.Duration{9 * time.Minute, 11 * time.Minute}})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(ahead, 10)
	r.targets.Remove(ahead)
	l := r.awaitLedger("one", r.endpoint)
	found := r.endpoint.Snapshot().Series(labels.MustNewMatcher(labels.MatchEqual, "series", "9m0s"))
	if len(found) != 1 || found[0].Count < 10 {
		t.Fatalf("the sample beside it is %+v", found)
	}
	if got := l.Rejected["too_far_ahead"]; got != uint64(found[0].Count) {
		t.Errorf("%d scrapes had a sample too far ahead, rejected is %v", found[0].Count, l.Rejected)
	}
}
