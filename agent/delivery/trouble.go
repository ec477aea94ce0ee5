package delivery

import (
	"slices"
	"time"
)

const (
	// troubleOver is how long requests must have been acknowledged for trouble to be
	// over, where it has been over before: an endpoint may refuse every other one.
	troubleOver = time.Minute
	// firstSummary is how long trouble lasts before it is summed up, each time twice
	// as long as the time before, up to mostSummary.
	firstSummary = 5 * time.Minute
	mostSummary  = 6 * time.Hour
)

// trouble is an episode of requests that are not acknowledged, which may be all or
// some of them. It decides what is worth a line in the log, and has no clock.
type trouble struct {
	kinds    []string // that were told; none: there is no trouble
	begun    time.Time
	last     time.Time // the last failure
	failures int
	// eased: there were acknowledgements in between, after so many failures.
	eased   bool
	before  int
	summary time.Duration // the pause before the next summary
	summed  time.Time
}

// line is what is to be logged.
type line int

const (
	nothing line = iota
	troubleBegins
	troubleGoesOn
	troubleEases
	troubleEnds
)

// failed notes a request that was not acknowledged.
func (t *trouble) failed(kind string, now time.Time) line {
	if len(t.kinds) == 0 {
		*t = trouble{begun: now, summary: firstSummary, summed: now}
	}
	t.failures++
	t.last = now
	if !slices.Contains(t.kinds, kind) {
		t.kinds = append(t.kinds, kind)
		return troubleBegins
	}
	if now.Sub(t.summed) >= t.summary {
		t.summed, t.summary = now, min(2*t.summary, mostSummary)
		return troubleGoesOn
	}
	return nothing
}

// acknowledged notes one that was. After troubleEnds, the caller forgets the trouble.
func (t *trouble) acknowledged(now time.Time) line {
	switch {
	case len(t.kinds) == 0:
		return nothing
	case !t.eased:
		t.eased, t.before = true, t.failures
		return troubleEases
	case now.Sub(t.last) < troubleOver:
		return nothing
	case t.failures == t.before: // that has been told
		*t = trouble{}
		return nothing
	}
	return troubleEnds
}
