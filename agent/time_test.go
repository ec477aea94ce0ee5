package agent_test

import (
	"fmt"
	"testing"
	"time"

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
	if err := r.endpoint.Down(); err != nil {
		t.Fatal(err)
	}
	r.awaitScrapes(explicit, 5)
	marked := r.destination("one").Ledger.Delivered
	r.awaitState("one", delivery.Behind) // not acknowledged for MaxLiveLag
	r.awaitScrapes(explicit, 5)
	if now := r.destination("one").Ledger.Delivered; now > marked {
		t.Errorf("a dead endpoint acknowledged %d samples", now-marked)
	}
	r.targets.Remove(gone)
	cut := time.Now().Add(-settleMargin - r.interval)
	r.stop()
	r.start()
	r.awaitScrapes(explicit, 5)
	if err := r.endpoint.Up(); err != nil {
		t.Fatal(err)
	}
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(explicit, 10)
	r.eventually("every scrape to arrive", func() error {
		s := r.endpoint.Snapshot()
		for _, target := range []*agenttest.Target{explicit, slow, gone} {
			if err := s.Scrapes(target, "", cut).Err(); err != nil {
				return err
			}
		}
		// Each of the explicit series holds what the counter holds.
		if missing := s.Scrapes(explicit, "agenttest_explicit", cut).Missing; len(missing) > 0 {
			return fmt.Errorf("explicit timestamps: %d missing: %v", len(missing), missing)
		}
		return nil
	})
	r.targets.Remove(explicit)
	r.targets.Remove(slow)
	r.awaitLedger("one", r.endpoint)
	r.checkNothingLost(r.endpoint)
}
