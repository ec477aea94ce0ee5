package agent

import (
	"context"
	"errors"
	"time"

	"github.com/go-kit/log/level"
	"github.com/prometheus/prometheus/scrape"
)

// clockLook is how often the clock is looked at while waiting for it.
const clockLook = time.Second

// errClockSet ends a run that must be begun anew because of the clock.
var errClockSet = errors.New("after a step of the clock")

// awaitClock waits for the clock at the first run of the process, tells delivery
// if it lies before a time that it has had, and begins to look for steps: what
// is scraped from now on is dated by it. Later runs do not wait: they begin
// because somebody has set the clock.
func (r *run) awaitClock(ctx context.Context, saved time.Time) {
	a := r.agent
	first := !a.clockAwaited
	a.clockAwaited = true
	inVain := false
	if first {
		seen := saved
		if seen.Before(plausible) {
			seen = plausible
		}
		inVain = !a.waitForClock(ctx, seen)
	}
	if now := time.Now(); ctx.Err() == nil && now.Before(saved) {
		r.delivery.TimeWentBack(saved)
		if inVain {
			// Either clock may be wrong. To wait once is enough.
			r.delivery.ForgetLatest()
		}
	}
	r.clockBroken = a.clock.runs()
}

// waitForClock waits while the wall clock lies before a time that it has had, or
// in which it cannot be right: a box without a battery-backed clock starts in the
// past, and would date its samples so that an endpoint refuses them, and all that
// follow until time has caught up. It reports whether the clock has caught up.
func (a *Agent) waitForClock(ctx context.Context, seen time.Time) bool {
	if !time.Now().Before(seen) {
		return true
	}
	if a.opts.MaxClockWait < 0 {
		return false
	}
	level.Warn(a.opts.Logger).Log("msg", "The clock lies before a time that has passed; waiting for it before scraping", "now", time.Now().UTC(), "seen", seen.UTC(), "at_most", a.opts.MaxClockWait)
	a.setWaiting("for the clock, which lies before " + seen.UTC().Format(time.RFC3339))
	// Monotonic: the wall clock is what is expected to jump.
	begun := time.Now()
	tick := time.NewTicker(clockLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		if !time.Now().Before(seen) {
			level.Info(a.opts.Logger).Log("msg", "The clock has caught up", "waited", time.Since(begun))
			return true
		}
		if time.Since(begun) >= a.opts.MaxClockWait {
			level.Error(a.opts.Logger).Log("msg", "The clock still lies before a time that has passed; scraping all the same", "now", time.Now().UTC(), "seen", seen.UTC())
			return false
		}
	}
}

// alignment stops upstream from aligning the times of scrapes for the run, if the
// clock is not plausible, and returns what gives it back when all scrapes have
// ended. Upstream counts the intervals since the last scrape one by one
// (scrape.scrapeLoop.run, v0.316.0): from 1970 on, that takes each target seconds
// to minutes of CPU time, in which it can neither be scraped nor stopped.
func alignment(now time.Time) (restore func()) {
	if !now.Before(plausible) || !scrape.AlignScrapeTimestamps {
		return func() {}
	}
	scrape.AlignScrapeTimestamps = false
	return func() { scrape.AlignScrapeTimestamps = true }
}

// scrapesStop is how long upstream's scrapes may take to end when the agent does.
const scrapesStop = 1500 * time.Millisecond

// longestScrape is how long what is being scraped may take, by the configuration.
func (r *run) longestScrape() (longest time.Duration) {
	scrapes, err := r.agent.Config().GetScrapeConfigs()
	if err != nil {
		return 0 // it was applied with none
	}
	for _, s := range scrapes {
		longest = max(longest, time.Duration(s.ScrapeTimeout))
	}
	return longest
}

// stopScraping ends upstream's loops, and reports whether they have ended. When ctx
// has ended, or with clockSet, it does not wait for ever: a loop that is counting
// intervals (see alignment) would keep the agent from writing its marks, or from
// scraping in another run. What such a loop scrapes once more, delivery does not take.
func (r *run) stopScraping(ctx context.Context, clockSet bool) bool {
	stopped := make(chan struct{})
	go func() {
		r.scrape.Stop()
		close(stopped)
	}()
	var left <-chan time.Time // nil: never
	if clockSet {
		left = time.After(r.longestScrape() + scrapesStop)
	}
	select {
	case <-stopped:
		return true
	case <-ctx.Done():
		left = time.After(scrapesStop)
	case <-left:
		left = time.After(0)
	}
	select {
	case <-stopped:
		return true
	case <-left:
		level.Warn(r.agent.opts.Logger).Log("msg", "Scrapes do not end; leaving them behind")
		return false
	}
}
