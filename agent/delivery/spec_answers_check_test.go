package delivery

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// script is what was sent and answered, a request after the other, each of the samples
// of the times at.
type script struct {
	body    string
	status  int
	attempt string
	pause   time.Duration // before it
	at      []int64
}

func play(requests ...script) (a answered) {
	now := time.Now()
	for _, r := range requests {
		p := &posted{body: []byte(r.body), status: r.status, header: http.Header{}, begun: now.Add(r.pause), answered: now.Add(r.pause)}
		if now = p.answered; r.attempt != "" {
			p.header.Set("Retry-Attempt", r.attempt)
		}
		w := wireSeries{labels: []wireLabel{{"__name__", "vanishes"}, {"job", "legacy"}}}
		for _, t := range r.at {
			w.samples = append(w.samples, wireSample{t: t})
		}
		p.series = []wireSeries{w}
		a.posts = append(a.posts, p)
	}
	a.ledger = ledger.Terms{Appended: 1, Delivered: 1}
	return a
}

// TestSpecificationAnswers: what is demanded of retries, pauses and refusals is missed
// where it is not done.
func TestSpecificationAnswers(t *testing.T) {
	t.Parallel()
	first, ok := script{body: "a", status: 503, at: []int64{1}}, script{body: "a", status: 200, attempt: "1", pause: time.Second, at: []int64{1}}
	other := script{body: "b", status: 200, at: []int64{2}}
	attempts := func(pause time.Duration) answered {
		all := []script{first}
		for i := range 4 {
			all = append(all, script{body: "a", status: 503, attempt: strconv.Itoa(i + 1), pause: pause})
		}
		return play(all...)
	}
	lost := play(first, ok)
	lost.ledger.Delivered = 0
	var held, forgotten []script
	refused := map[string]uint64{}
	for i, status := range heldStatuses {
		body, at := strconv.Itoa(status), []int64{int64(i)}
		forgotten = append(forgotten, script{body: body, status: status, at: at})
		held = append(held, script{body: body, status: status, at: at}, script{body: body, status: 200, attempt: "1", at: at})
		refused["http_"+body] = 1
	}
	counts := func(a answered) answered { a.ledger.Refused = refused; return a }
	for name, c := range map[string]struct {
		rule outcome
		a    answered
		ok   bool
	}{
		"retried":                   {retried, play(first, ok, other), true},
		"not retried":               {retried, play(first, other), false},
		"retried without a number":  {retried, play(first, script{body: "a", status: 200}), false},
		"retried with another body": {retried, play(first, script{body: "c", status: 200, attempt: "1"}), false},
		"retried, never taken":      {retried, play(first, script{body: "a", status: 503, attempt: "1"}), false},
		"retried and lost":          {retried, lost, false},
		"backs off":                 {backsOff, attempts(specMaxBackoff), true},
		"does not back off":         {backsOff, attempts(specMinBackoff / 2), false},
		"waits":                     {waited(time.Second), play(first, ok), true},
		"does not wait":             {waited(2 * time.Second), play(first, ok), false},
		"once":                      {once, play(first, other), true},
		"twice":                     {once, play(first, script{body: "c", at: []int64{1}}), false},
		"the same request once":     {sameRequestOnce, play(first, script{body: "c", at: []int64{1}}), true},
		"the same request twice":    {sameRequestOnce, play(first, ok), false},
		"parts":                     {partsAgain, play(first, script{body: "c", at: []int64{1}}), true},
		"no parts":                  {partsAgain, play(first, other), false},
		"held":                      {heldInTheEnd, play(held...), true},
		"not held":                  {heldInTheEnd, play(forgotten...), false},
		"given up":                  {givenUp, counts(play(forgotten...)), true},
		"given up, not counted":     {givenUp, play(forgotten...), false},
		"counted, not given up":     {givenUp, counts(play(held...)), false},
		"once more":                 {givenUpLive, play(first, ok, other), true},
		"never":                     {givenUpLive, play(first, other), false},
		"logged":                    {logged, answered{words: "err=" + finalWords}, true},
		"not logged":                {logged, answered{words: "HTTP 400"}, false},
		"not interpreted":           {interpreted, answered{state: Live, ledger: ledger.Terms{Uncertain: map[string]uint64{"http_400": 1}}}, false},
		"uncounted":                 {counted, answered{state: Live}, false},
		"another version":           {firstIs("2.0.0"), play(first), false},
		"a page is acknowledged":    {retriedPage, play(ok), false},
		"not sent again":            {resent, play(first, other), false},
		"no stale marker":           {staleWhereVanished, play(ok), false},
		"not scraped":               {legacyNames, play(ok), false},
	} {
		if err := c.rule(c.a); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
