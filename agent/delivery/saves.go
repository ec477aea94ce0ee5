package delivery

import (
	"reflect"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/pulse"
)

// While there is nothing to be told but how much was delivered, the marks are written
// after so many intervals: after the first, when nothing waits for its answer, as it is
// not synced then (see marks.write), and after the second in any case.
const (
	quietSaves   = 9
	longestQuiet = 10
)

// saves decides when the marks are written. It has no clock.
type saves struct {
	interval time.Duration // 0: never for the time
	last     time.Time
	then     notable // when they were written last
}

// notable is what the marks hold that a crash would lose. What was scraped and
// delivered is found again: it is on disk, and at the endpoint.
type notable struct {
	allLive bool // and nothing is kept for a destination that is gone
	terms   map[string]ledger.Terms
}

// due reports whether the marks have to be written for the time that has passed. waits
// reports whether anything on disk waits for its answer.
func (s *saves) due(now time.Time, is func() notable, waits func() bool) bool {
	passed := now.Sub(s.last)
	switch {
	case s.interval <= 0 || passed < s.interval-pulse.Slack:
		return false
	case passed >= longestQuiet*s.interval-pulse.Slack:
		return true
	case passed >= quietSaves*s.interval-pulse.Slack && !waits():
		return true
	}
	what := is()
	return !what.allLive || !reflect.DeepEqual(what, s.then)
}

func (s *saves) did(now time.Time, is notable) { s.last, s.then = now, is }
