package agent

import (
	"context"
	"time"

	"github.com/go-kit/log/level"
)

// clockStep is how often the clock is looked at while waiting for it.
const clockStep = time.Second

// waitForClock waits while the wall clock lies before the newest time that the
// storage directory has seen: a box without a battery-backed clock starts in
// the past, and would date its samples so that an endpoint refuses them, and
// all that follow until time has caught up. It gives up after the bound.
func (a *Agent) waitForClock(ctx context.Context, seen time.Time) {
	if a.opts.MaxClockWait < 0 || !time.Now().Before(seen) {
		return
	}
	level.Warn(a.opts.Logger).Log("msg", "The clock lies before the newest time in the storage directory; waiting for it before scraping", "now", time.Now().UTC(), "seen", seen.UTC(), "at_most", a.opts.MaxClockWait)
	a.setWaiting("for the clock, which lies before " + seen.UTC().Format(time.RFC3339))
	// Monotonic: the wall clock is what is expected to jump.
	begun := time.Now()
	tick := time.NewTicker(clockStep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !time.Now().Before(seen) {
			level.Info(a.opts.Logger).Log("msg", "The clock has caught up", "waited", time.Since(begun))
			return
		}
		if time.Since(begun) >= a.opts.MaxClockWait {
			level.Error(a.opts.Logger).Log("msg", "The clock still lies before the newest time in the storage directory; scraping all the same", "now", time.Now().UTC(), "seen", seen.UTC())
			return
		}
	}
}
