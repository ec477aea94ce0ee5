package delivery

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

func (r *rig) accepted(name string) uint64 { return uint64(r.endpoints[name].Snapshot().Accepted) }

// checkDelivered waits until all is settled, and checks that everything was
// delivered, that the endpoint says the same, and that nothing was overtaken.
func (r *rig) checkDelivered(name string) {
	r.t.Helper()
	l := r.awaitSettled(name)
	if l.Delivered != l.Appended || l.Delivered != r.accepted(name) {
		r.t.Errorf("%s: the endpoint holds %d of %+v", name, r.accepted(name), l)
	}
	if err := r.endpoints[name].Snapshot().CheckInOrder(); err != nil {
		r.t.Errorf("%s: %v", name, err)
	}
}

// TestLiveAndBack: live, behind for each reason that an endpoint can give, and
// live again, without a loss.
func TestLiveAndBack(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]agenttest.Answer{
		"401": {Status: 401, Body: "bad authentication token"},
		"409": agenttest.EmptyRing(),
		"413": agenttest.NginxError(413),
		"400": agenttest.NginxError(400),
		"415": {Status: 415, Body: "unsupported media type"},
		"302": {Status: 302, Header: http.Header{"Location": {"https://127.0.0.1:1/"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			r.open()
			r.awaitState("one", Live)
			r.scrapes(5, 40)
			r.awaitSettled("one")
			r.one().Respond(answer)
			r.scrapes(5, 40)
			r.awaitState("one", Behind)
			r.eventually("the error to be shown", func() error {
				if s := r.status("one"); s.Why == "" || !strings.Contains(s.LastError, name) {
					return fmt.Errorf("it says %q, %q", s.Why, s.LastError)
				}
				return nil
			})
			r.scrapes(5, 40)
			r.pass()
			r.one().Recover()
			r.awaitState("one", Live)
			r.scrapes(5, 40)
			r.checkDelivered("one")
		})
	}
}

// TestPassingTroubleStaysLive: what upstream retries by itself does not take a
// destination behind.
func TestPassingTroubleStaysLive(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	r.awaitState("one", Live)
	since := r.status("one").Since
	r.one().RespondNext(agenttest.Answer{Status: 503, Body: "429-to-503: ingestion rate limit"}, agenttest.Answer{Reset: true}, agenttest.Answer{Status: 429})
	r.scrapes(5, 40)
	r.checkDelivered("one")
	if s := r.status("one"); s.State != Live || !s.Since.Equal(since) {
		t.Errorf("it did not stay live: %+v", s)
	}
}

// TestLagging: a live destination that acknowledges nothing for long goes behind.
func TestLagging(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.MaxLiveLag = 300 * time.Millisecond
	r.open()
	r.awaitState("one", Live)
	if err := r.one().Down(); err != nil {
		t.Fatal(err)
	}
	r.scrapes(3, 10)
	r.awaitState("one", Behind)
	if why := r.status("one").Why; !strings.Contains(why, "keep up") {
		t.Errorf("it is behind because %q", why)
	}
	r.scrapes(3, 10)
	r.pass()
	if err := r.one().Up(); err != nil {
		t.Fatal(err)
	}
	r.awaitState("one", Live)
	r.checkDelivered("one")
}

// scrapeWith appends a scrape of n good series and one that no Cortex takes.
func (r *rig) scrapeWith(n int) {
	r.t.Helper()
	at := r.next()
	app := r.append.AppenderV2(r.t.Context())
	for i := range n {
		r.add(app, labels.FromStrings("__name__", "good", "i", fmt.Sprint(i)), at, 1)
	}
	r.add(app, labels.FromStrings("__name__", "wide", "x", strings.Repeat("x", 3000)), at, 1)
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

// openBehind opens with one destination that has been live and is behind, with an
// empty ledger but for the one sample that took it there, and stays so.
func (r *rig) openBehind() {
	r.t.Helper()
	r.options.MinStay = time.Hour
	r.open()
	r.awaitState("one", Live)
	r.goBehind("one")
}

// TestRefusedByCortex: while behind, a series that Cortex refuses costs its own
// samples, once it is known to store the good ones of a request.
func TestRefusedByCortex(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.openBehind()
	for range 10 {
		r.scrapeWith(1)
	}
	before := len(r.one().Snapshot().Requests)
	r.one().Recover()
	l := r.awaitSettled("one")
	if l.Delivered != 11 || l.Refused["http_400"] != 10 {
		t.Errorf("%+v", l)
	}
	if got := r.accepted("one"); got != 11 {
		t.Errorf("the endpoint holds %d", got)
	}
	if n := len(r.one().Snapshot().Requests) - before; n > 6 {
		t.Errorf("it took %d requests", n)
	}
}

// TestRefusedByPrometheus: a receiver that rolls back loses the bad samples only.
func TestRefusedByPrometheus(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.openBehind()
	for range 10 {
		r.scrapeWith(20)
	}
	r.one().Recover()
	l := r.awaitSettled("one")
	if l.Delivered != 201 || l.Refused["http_400"] != 10 || r.accepted("one") != 201 {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
}

// TestRefusesEverything: an endpoint that refuses everything is soon asked twice
// for each batch and no more.
func TestRefusesEverything(t *testing.T) {
	t.Parallel()
	for name, words := range map[string]string{"bad": "no", "too old": "out of bounds"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{AllOrNothing: true})
			r.openBehind()
			r.one().Respond(agenttest.Answer{Status: 400, Body: words})
			for range 8 { // to learn what it is like
				r.scrapes(3, 40)
				r.awaitSettled("one")
			}
			before := len(r.one().Snapshot().Requests)
			const batches = 5
			for range batches {
				r.scrapes(1, 40)
				r.awaitSettled("one")
			}
			if n := len(r.one().Snapshot().Requests) - before; n > 2*batches {
				t.Errorf("%d batches took %d requests", batches, n)
			}
			l := r.awaitSettled("one")
			if refused := l.Refused["http_400"] + l.Refused["out_of_bounds"]; refused != l.Appended {
				t.Errorf("%+v", l)
			}
			// Once it takes samples again, a bad series costs itself only.
			r.one().Recover()
			r.scrapeWith(20)
			r.scrapeWith(20)
			if now := r.awaitSettled("one"); now.Delivered != 40 || now.Delivered != r.accepted("one") {
				t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), now)
			}
		})
	}
}
