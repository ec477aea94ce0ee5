package delivery

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// TestRequestSize: 413s halve a request, acknowledgements or time double it, up to
// the configured size; where that is refused again and again, ever more seldom.
func TestRequestSize(t *testing.T) {
	t.Parallel()
	const configured, pause = 2500, 5 * time.Second
	s := requestSize{pause: pause}
	now := machineStart
	for n := configured; n > 1; n = s.most(configured) {
		s.tooLarge(n, now)
	}
	s.tooLarge(1, now)
	if s.most(configured) != 1 || s.refused != 12 || !s.recovering() {
		t.Fatalf("after 413s for everything: %+v", s)
	}
	s.passed(configured, now.Add(time.Hour))
	if s.most(configured) != 1 {
		t.Fatalf("it grows while nothing is acknowledged: %+v", s)
	}
	steps := 0
	for begun := now; s.limit > 0; steps++ {
		now = now.Add(pause)
		s.acknowledged(1, configured, now)
		if now.Sub(begun) > 2*time.Minute {
			t.Fatalf("after %s: %+v", now.Sub(begun), s)
		}
	}
	if s.most(configured) != configured || steps != 12 || s.recovering() {
		t.Fatalf("after %d steps: %+v", steps, s)
	}

	s = requestSize{pause: pause}
	s.tooLarge(configured, now)
	for range acksToGrow {
		s.acknowledged(1000, configured, now) // not full: no reason to grow
	}
	if s.most(configured) != configured/2 {
		t.Fatalf("small requests made it %+v", s)
	}
	for range acksToGrow {
		s.acknowledged(configured/2, configured, now)
	}
	if s.most(configured) != configured || s.factor() != 1 {
		t.Fatalf("full requests made it %+v", s)
	}
}

// TestRequestSizeAtALimit: an endpoint whose limit lies between two sizes is asked
// for the larger one ever less often, and at once again when it has taken it.
func TestRequestSizeAtALimit(t *testing.T) {
	t.Parallel()
	const configured, limit = 2500, 700
	s := requestSize{pause: 5 * time.Second}
	now, refusals := machineStart, 0
	for range 24 * 60 * 60 { // one request a second, for a day
		now = now.Add(time.Second)
		if n := s.most(configured); n > limit {
			refusals++
			s.tooLarge(n, now)
		} else {
			s.acknowledged(n, configured, now)
		}
	}
	if refusals > 100 || refusals < 10 {
		t.Errorf("%d requests too large in a day", refusals)
	}
	if n := s.most(configured); n > limit || n < limit/4 || s.recovering() {
		t.Errorf("requests of %d, %+v", n, s)
	}
	for range 24 * 60 * 60 { // the limit is gone
		now = now.Add(time.Second)
		s.acknowledged(s.most(configured), configured, now)
	}
	if s.most(configured) != configured || s.factor() != 1 {
		t.Errorf("without a limit: %+v", s)
	}
}

// largerThan answers 413 to requests with more samples.
func largerThan(n int) func(in *agenttest.Incoming) *agenttest.Answer {
	return func(in *agenttest.Incoming) *agenttest.Answer {
		if in.Write != nil && in.Samples() > n {
			answer := agenttest.NginxError(413)
			return &answer
		}
		return nil
	}
}

// TestTooLarge: a 413 for everything is waited for, with pauses, live and behind:
// no ordinary sample is given up, and requests have their size again afterwards.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	r.awaitState("one", Live)
	r.scrapes(3, 40)
	r.awaitSettled("one")
	begun := time.Now()
	r.one().Respond(agenttest.NginxError(413))
	r.scrapes(20, 40)
	d := r.delivery.all()[0]
	r.eventually("requests of one sample", func() error {
		r.delivery.Notify()
		if n, refused := d.queueSize(), len(r.one().Snapshot().Answers); n > 1 || refused == 0 {
			return fmt.Errorf("%d samples in a request", n)
		}
		return nil
	})
	asked := r.one().Snapshot().Answers[413].Requests
	r.eventually("some more of them", func() error {
		if n := r.one().Snapshot().Answers[413].Requests; n < asked+5 {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
	// Halvings, and then pauses of 150 ms at least.
	if n, most := r.one().Snapshot().Answers[413].Requests, 25+int(time.Since(begun)/(100*time.Millisecond)); int(n) > most {
		t.Errorf("%d requests in %s", n, time.Since(begun))
	}
	if s := r.status("one"); ledger.Total(s.Ledger.Refused)+ledger.Total(s.Ledger.Uncertain) > 0 {
		t.Errorf("given up for a 413: %+v", s.Ledger)
	}
	r.one().Recover()
	r.awaitState("one", Live)
	if d.queueSize() != 500 {
		t.Errorf("requests of up to %d", d.queueSize())
	}
	r.scrapes(3, 40)
	r.checkDelivered("one")
}

// TestTooLargeAtALimit: an endpoint that takes small requests only gets them, live
// as well.
func TestTooLargeAtALimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.one().RespondIf(largerThan(16))
	r.open()
	for range 5 {
		r.scrapes(3, 40)
		r.checkDelivered("one")
	}
	r.one().Recover()
	r.eventually("requests of the configured size", func() error {
		r.scrapes(1, 40)
		if s := r.status("one"); s.State != Live || r.delivery.all()[0].queueSize() != 500 {
			return fmt.Errorf("%s, requests of up to %d", s.State, r.delivery.all()[0].queueSize())
		}
		return nil
	})
	r.checkDelivered("one")
}

// TestLargeSample: a sample that is large by itself is given up for a 413 when the
// endpoint takes other requests, and not before.
func TestLargeSample(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.openBehind()
	r.scrapes(2, 5)
	r.one().Recover()
	r.awaitSettled("one")
	var alone atomic.Int64
	tooLarge := func(empty bool) {
		r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
			switch {
			case in.Bytes > largeSample/20: // compressed
				if in.Samples() == 1 {
					alone.Add(1)
				}
			case empty || in.Samples() > 0:
				return nil
			}
			answer := agenttest.NginxError(413)
			return &answer
		})
	}
	tooLarge(false)
	app := r.append.AppenderV2(t.Context())
	r.add(app, labels.FromStrings("__name__", "large", "x", strings.Repeat("x", largeSample)), r.next(), 1)
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	r.eventually("the large sample alone", func() error {
		if n := alone.Load(); n < 3 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	if l := r.status("one").Ledger; ledger.Total(l.Refused) > 0 {
		t.Errorf("given up although even an empty request is answered 413: %+v", l)
	}
	r.scrapes(2, 5)
	tooLarge(true)
	r.eventually("all to be settled", func() error {
		if l := r.status("one").Ledger; l.OnDisk > 0 {
			return errors.New("not yet")
		}
		return nil
	})
	if l := r.status("one").Ledger; l.Refused["too_large"] != 1 || l.Delivered != l.Appended-1 {
		t.Errorf("%+v", l)
	}
}
