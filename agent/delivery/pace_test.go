package delivery

import (
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestPace: half of the rate that was refused, then up by steps.
func TestPace(t *testing.T) {
	t.Parallel()
	now := machineStart
	p := pace{}
	if p.tooFast(now); p.rate != 0 {
		t.Errorf("a refusal before anything was taken made it %v", p.rate)
	}
	for range 10 { // 10,000 samples a second
		if wait := p.delay(1000, now); wait != 0 {
			t.Errorf("without a bound it waits for %s", wait)
		}
		now = now.Add(100 * time.Millisecond)
		p.acknowledged(1000, now)
	}
	p.tooFast(now)
	if p.rate != 5000 {
		t.Errorf("half of 10,000 is %v", p.rate)
	}
	if first, second := p.delay(1000, now), p.delay(1000, now); first != 0 || second != 200*time.Millisecond {
		t.Errorf("at 5,000 a second, 1,000 wait for %s and %s", first, second)
	}
	now = now.Add(time.Second)
	p.acknowledged(1000, now)
	if p.rate != 5500 {
		t.Errorf("after a second it is %v", p.rate)
	}
	for range 20 {
		p.tooFast(now)
	}
	if p.rate != leastPace {
		t.Errorf("after many refusals it is %v", p.rate)
	}
	if p.delay(1e6, now); p.delay(1, now) > longestGap {
		t.Errorf("the next request has to wait until %s after now", p.next.Sub(now))
	}
	p.peak = 1000
	for range 80 {
		now = now.Add(time.Second)
		p.acknowledged(1, now)
	}
	if p.rate != 0 {
		t.Errorf("far above what was refused it is still bound to %v", p.rate)
	}
}

// TestPaceAfterAnOutage: the time of an outage is not that in which what came before it
// was taken.
func TestPaceAfterAnOutage(t *testing.T) {
	t.Parallel()
	now, p := machineStart, pace{}
	p.delay(1000, now)
	now = now.Add(100 * time.Millisecond)
	p.acknowledged(1000, now)
	p.interrupted()
	now = now.Add(time.Hour)
	p.delay(1000, now)
	now = now.Add(100 * time.Millisecond)
	p.acknowledged(1000, now)
	p.tooFast(now)
	if p.rate != 5000 {
		t.Errorf("half of 10,000 is %v", p.rate)
	}
}

// TestPaceAtALimit: at an endpoint that takes so many samples a second from a
// bucket, as Cortex does, most of the limit is used, and refusals are few.
func TestPaceAtALimit(t *testing.T) {
	t.Parallel()
	const limit, n = 10_000.0, 2500
	now, p := machineStart, pace{}
	bucket, filled := 2*limit, now
	taken, refused := 0, 0
	for end := now.Add(10 * time.Minute); now.Before(end); {
		now = now.Add(p.delay(n, now)).Add(20 * time.Millisecond)
		bucket, filled = min(2*limit, bucket+limit*now.Sub(filled).Seconds()), now
		if bucket >= n {
			bucket -= n
			p.acknowledged(n, now)
			taken += n
			continue
		}
		refused++
		p.tooFast(now)
		now = now.Add(100 * time.Millisecond)
	}
	if used := float64(taken) / (600 * limit); used < 0.6 || refused > 120 {
		t.Errorf("%d refusals in 10 m, and %.0f %% of the limit used", refused, 100*used)
	}
}

// TestCatchUpAtARateLimit: an endpoint with a rate limit gets the whole backlog, and
// few requests that it must refuse.
func TestCatchUpAtARateLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{RateLimit: 5000, RateBurst: 10_000})
	r.openBehind()
	const samples = 50_000
	r.scrapes(samples/1000, 1000)
	before := r.refusals()
	r.one().Recover()
	r.checkDelivered("one")
	if n := r.refusals() - before; n > 40 {
		t.Errorf("%d requests were refused", n)
	}
}

// TestBurstBelowARequest: an endpoint whose bucket never holds as much as a request has
// gets the whole backlog all the same, in smaller ones.
func TestBurstBelowARequest(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{RateLimit: 50_000, RateBurst: 1500})
	r.openBehind()
	const samples = 50_000
	r.scrapes(samples/1000, 1000)
	before := r.refusals()
	r.one().Recover()
	r.checkDelivered("one")
	if n := r.refusals() - before; n > 60 {
		t.Errorf("%d requests were refused", n)
	}
}

// TestSlowLink: where a request takes longer than remote_timeout, smaller ones do not.
func TestSlowLink(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.timeout = "1s"
	r.openBehind()
	const samples = 20_000
	r.scrapes(samples/1000, 1000)
	r.one().Recover()
	r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
		return &agenttest.Answer{Delay: time.Duration(in.Samples()) * 400 * time.Microsecond} // 2,500 a second
	})
	r.checkDelivered("one")
}

// refusals counts the requests that the endpoint answered 503 or 429.
func (r *rig) refusals() int {
	a := r.one().Snapshot().Answers
	return int(a[503].Requests + a[429].Requests)
}
