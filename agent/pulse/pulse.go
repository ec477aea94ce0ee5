// Package pulse has what looks at something from time to time do so at the same
// moments: a process at rest then wakes once for all of it. Whoever can be told by an
// event needs none of this.
package pulse

import (
	"context"
	"time"
)

// begun is what moments are counted from. It has a monotonic reading: steps of the
// wall clock do not move them.
var begun = time.Now()

// Slack is what is not worth a wake of its own: who has just been woken a little early
// would be woken again at once. By as much more or less than every may lie between two
// looks.
const Slack = 50 * time.Millisecond

// Next returns how long it is to the next moment for what is to be looked at every so
// often: more than Slack, and not more than every and Slack.
func Next(every time.Duration) time.Duration { return until(time.Since(begun), every) }

func until(passed, every time.Duration) time.Duration {
	d := every - passed%every
	if d <= min(Slack, every/2) {
		d += every
	}
	return d
}

// Wait waits for the next moment, and reports whether ctx has not ended.
func Wait(ctx context.Context, every time.Duration) bool {
	t := time.NewTimer(Next(every))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// After returns a channel that gets the time at the next moment.
func After(every time.Duration) <-chan time.Time { return time.After(Next(every)) }
