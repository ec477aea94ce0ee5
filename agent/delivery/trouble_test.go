package delivery

import (
	"testing"
	"time"
)

// TestTrouble: a line when trouble begins, sums at growing pauses, and one when it is
// over; an endpoint that refuses every other request does not flood the log.
func TestTrouble(t *testing.T) {
	t.Parallel()
	const ok = ""
	type step struct {
		after time.Duration
		kind  string // of the failure, or ok
		want  line
	}
	for name, steps := range map[string][]step{
		"an outage": {
			{0, "HTTP 503", troubleBegins}, {time.Second, "HTTP 503", nothing}, {time.Second, "no answer", troubleBegins}, {time.Second, "HTTP 503", nothing},
			{time.Second, ok, troubleEases}, {time.Second, ok, nothing}, {2 * troubleOver, ok, nothing},
			{time.Second, "HTTP 503", troubleBegins}, // another one
		},
		"a long outage": {
			{0, "HTTP 503", troubleBegins}, {firstSummary, "HTTP 503", troubleGoesOn}, {firstSummary, "HTTP 503", nothing},
			{firstSummary, "HTTP 503", troubleGoesOn}, {3 * firstSummary, "HTTP 503", nothing}, {firstSummary, "HTTP 503", troubleGoesOn},
		},
		"every other request": {
			{0, "HTTP 400", troubleBegins}, {time.Second, ok, troubleEases}, {time.Second, "HTTP 400", nothing}, {time.Second, ok, nothing},
			{time.Second, "HTTP 400", nothing}, {time.Second, ok, nothing}, {troubleOver, ok, troubleEnds},
		},
		"none": {{0, ok, nothing}, {time.Hour, ok, nothing}},
	} {
		var tr trouble
		at := time.Now()
		for i, s := range steps {
			at = at.Add(s.after)
			var got line
			if s.kind == ok {
				if got = tr.acknowledged(at); got == troubleEnds {
					tr = trouble{}
				}
			} else {
				got = tr.failed(s.kind, at)
			}
			if got != s.want {
				t.Errorf("%s, step %d: %d, expected %d", name, i, got, s.want)
			}
		}
	}
}
