package delivery

import "time"

const (
	// leastPace is the lowest rate that refusals lead to, in samples a second.
	leastPace = 100
	// longestGap bounds the time between two requests: refusals may have been those
	// of an endpoint that was down.
	longestGap = 10 * time.Second
	// raisedBy is what a second of acknowledgements adds to the rate, as a part of
	// the rate that was refused: from half of it, ten seconds lead back.
	raisedBy = 0.05
	// unboundAt is how many times the rate that was refused must be taken until it
	// is forgotten: the limit, or whoever else it is shared with, is gone.
	unboundAt = 4
)

// pace is how fast one destination's backlog is sent, in samples a second, to an
// endpoint that says that it is too fast (429, 503): its limit is shared with what
// others send, live. A refusal halves the rate, acknowledgements raise it by
// steps. It has no clock; the zero value is unbounded.
type pace struct {
	rate, peak float64   // peak is the rate that was refused last; 0: none
	next       time.Time // when the next request may be sent
	raised     time.Time
	// sent is what was acknowledged since, at whatever rate.
	sent  int
	since time.Time
}

// delay returns how long to wait before a request of n samples, and counts it as
// sent then.
func (p *pace) delay(n int, now time.Time) time.Duration {
	if p.since.IsZero() {
		p.since = now
	}
	if p.rate == 0 {
		return 0
	}
	at := now
	if p.next.After(now) {
		at = p.next
	}
	p.next = at.Add(min(longestGap, time.Duration(float64(n)/p.rate*float64(time.Second))))
	return at.Sub(now)
}

// tooFast notes that the endpoint refused a request. An endpoint that has taken
// nothing yet tells no rate: it may be down. One that goes down later is sent
// little at first when it is back.
func (p *pace) tooFast(now time.Time) {
	rate := p.rate
	if rate == 0 && p.sent > 0 {
		rate = float64(p.sent) / max(now.Sub(p.since).Seconds(), 0.001)
	}
	if rate > 0 {
		p.peak, p.rate = rate, max(rate/2, leastPace)
		p.raised = now
	}
	p.sent, p.since = 0, time.Time{}
}

// interrupted notes that a request failed for another reason: the time that an outage
// takes tells nothing of the rate that the endpoint takes.
func (p *pace) interrupted() { p.sent, p.since = 0, time.Time{} }

// acknowledged notes that n samples were taken.
func (p *pace) acknowledged(n int, now time.Time) {
	p.sent += n
	if p.rate == 0 {
		return
	}
	p.rate += raisedBy * p.peak * min(now.Sub(p.raised).Seconds(), 60)
	p.raised = now
	if p.rate >= unboundAt*p.peak {
		p.rate = 0
	}
}
