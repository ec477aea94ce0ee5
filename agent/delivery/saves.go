package delivery

import (
	"reflect"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/pulse"
)

// quietSaves is by how much seldomer the marks are written while there is nothing to
// be told but how much was delivered.
const quietSaves = 4

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

// due reports whether the marks have to be written for the time that has passed.
func (s *saves) due(now time.Time, is func() notable) bool {
	passed := now.Sub(s.last)
	switch {
	case s.interval <= 0 || passed < s.interval-pulse.Slack:
		return false
	case passed >= quietSaves*s.interval-pulse.Slack:
		return true
	}
	what := is()
	return !what.allLive || !reflect.DeepEqual(what, s.then)
}

func (s *saves) did(now time.Time, is notable) { s.last, s.then = now, is }

// notable returns what there is to be told.
func (d *Delivery) notable() notable {
	is := notable{terms: d.book.Terms()}
	live := 0
	for _, t := range d.all() {
		if t.isLive() {
			live++
		}
	}
	is.allLive = live == len(is.terms)
	for name, terms := range is.terms {
		terms.Appended, terms.Delivered, terms.OnDisk, terms.Filtered = 0, 0, 0, nil
		is.terms[name] = terms
	}
	return is
}
