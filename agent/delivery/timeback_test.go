package delivery

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// scrapeBoth appends a sample of each of n series that are known from before, and
// of n others.
func (r *rig) scrapeBoth(n int, t time.Time) {
	r.t.Helper()
	app := r.append.AppenderV2(r.t.Context())
	for i := range n {
		r.add(app, labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), t, 1)
		r.add(app, labels.FromStrings("__name__", "new", "i", fmt.Sprint(i)), t, 1)
	}
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

// TestAfterAStepBack: an endpoint refuses as out of order what is dated before the
// samples that it got before the clock was set back. That is not taken for a sign
// that they are there, nor that it stores the good samples of such requests: those
// arrive, whatever it does with them.
func TestAfterAStepBack(t *testing.T) {
	t.Parallel()
	const series, scrapes = 5, 4
	for _, tc := range []struct {
		name    string
		manners agenttest.Manners
		crash   bool
	}{
		{"Cortex", agenttest.Manners{}, false},
		{"Prometheus", agenttest.Manners{AllOrNothing: true, Window: -1}, false},
		{"Prometheus, after a crash", agenttest.Manners{AllOrNothing: true, Window: -1}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tc.manners)
			r.open()
			r.awaitState("one", Live)
			r.scrapes(scrapes, series)
			before := r.awaitSettled("one").Delivered
			r.close()

			r.wentBack = time.Now().Add(time.Second)
			r.one().Respond(agenttest.Answer{Status: 401, Body: "bad authentication token"})
			r.open()
			old := time.Now().Add(-30 * time.Minute)
			r.scrapeBoth(series, old)
			r.awaitState("one", Behind)
			for i := range scrapes - 1 {
				r.scrapeBoth(series, old.Add(time.Duration(i+1)*time.Second))
			}
			if tc.crash {
				// What has been read may have been sent.
				if err := r.delivery.marks.saveAndRelease(false); err != nil {
					t.Fatal(err)
				}
				r.crash()
				r.open()
			}
			r.one().Recover()
			l := r.awaitSettled("one")
			accepted := r.accepted("one")
			if want := before + series*scrapes; accepted != want {
				t.Errorf("the endpoint holds %d, and not %d: %+v", accepted, want, l)
			}
			if l.Delivered > accepted || ledger.Total(l.Refused) > 0 || l.Delivered+ledger.Total(l.Uncertain) < accepted {
				t.Errorf("the endpoint holds %d: %+v", accepted, l)
			}
			if tc.manners.AllOrNothing && (l.Delivered != accepted || l.Uncertain["out_of_order"] != series*scrapes) {
				t.Errorf("a receiver that rolls back holds %d: %+v", accepted, l)
			}
			if p := r.delivery.all()[0].partialWrites(); p != partialUnknown {
				t.Errorf("it is concluded that partial writes are %d", p)
			}
		})
	}
}

// TestTooNewAfterAStepForward: Cortex drops a series from a request for one sample
// that is too new, so that it takes the older ones when it is asked about them
// alone. What it has taken is delivered, whatever becomes of the others.
func TestTooNewAfterAStepForward(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	r.awaitState("one", Live)
	r.goBehind("one")
	r.scrapes(2, 5)
	for i := range 20 {
		r.scrape(5, time.Now().Add(2*time.Hour+time.Duration(i)*time.Second))
	}
	r.one().Recover()
	if l := r.awaitSettled("one"); l.Delivered != r.accepted("one") || ledger.Total(l.Refused) == 0 {
		t.Errorf("the endpoint holds %d: %+v", r.accepted("one"), l)
	}
}
