package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
	"github.com/opstrace/opstrace-agent/agent/delivery/selection"
	"github.com/opstrace/opstrace-agent/agent/delivery/upstreamqueue"
)

// scrapeAhead is a scrape of n series, and one that is stamped five minutes ahead.
func (r *rig) scrapeAhead(n int) {
	r.t.Helper()
	at := r.next()
	app := r.append.AppenderV2(r.t.Context())
	for i := range n {
		r.add(app, labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), at, 1)
	}
	r.add(app, labels.FromStrings("__name__", "ahead"), at.Add(5*time.Minute), 1)
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

// outageAhead is live with a target that stamps ahead, then refused for a while,
// and taken again.
func (r *rig) outageAhead() {
	r.t.Helper()
	r.behindAhead()
	r.one().Recover()
}

// behindAhead is outageAhead before anything is taken again.
func (r *rig) behindAhead() {
	r.t.Helper()
	r.open()
	r.awaitState("one", Live)
	for range 5 {
		r.scrapeAhead(20)
	}
	r.awaitSettled("one")
	r.goBehind("one")
	for range 5 {
		r.scrapeAhead(20)
	}
	r.pass()
}

// TestStampsAhead: a target that stamps its samples ahead makes upstream's queue
// send some of them again after a hand-over. An endpoint that stores the good
// samples of a refused request is found out as such, and the destination lives.
func TestStampsAhead(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	var differs atomic.Bool
	r.log = log.LoggerFunc(func(keyvals ...any) error {
		if strings.Contains(fmt.Sprint(keyvals...), "something else than was expected") {
			differs.Store(true)
		}
		return nil
	})
	r.outageAhead()
	for range 4 {
		// Now and then a batch of the queue may have to go by the drainer first.
		r.eventually("it to be live with everything delivered", func() error {
			r.scrapeAhead(20)
			r.awaitSettled("one")
			if s := r.status("one"); s.State != Live {
				return fmt.Errorf("it is %s, %q", s.State, s.Why)
			}
			return nil
		})
		r.goBehind("one")
		for range 5 {
			r.scrapeAhead(20)
		}
		r.pass()
		r.one().Recover()
	}
	if p := r.delivery.all()[0].partialWrites(); p == partialRolledBack {
		t.Error("it is taken for an endpoint that rolls back")
	}
	if differs.Load() {
		t.Error("what the queue sends again is not expected")
	}
	if l := r.awaitSettled("one"); l.Delivered != l.Appended || r.accepted("one") != l.Delivered {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
}

// TestStampsAheadToPrometheus: at a receiver that rolls back, the same target
// keeps the destination behind, where everything is delivered, without an attempt
// at every turn.
func TestStampsAheadToPrometheus(t *testing.T) {
	t.Parallel()
	for receiver, manners := range allOrNothing {
		t.Run(receiver, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			r.outageAhead()
			for range 30 {
				r.scrapeAhead(20)
				r.awaitSettled("one")
			}
			l := r.awaitSettled("one")
			if l.Delivered != l.Appended || r.accepted("one") != l.Delivered {
				t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
			}
			if err := r.one().Snapshot().CheckInOrder(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDuplicateAfterABrokenAttempt: a receiver that rolls back refuses, for one
// duplicate, a request whose first attempt broke off before it was stored. That
// does not mean that the others are there.
func TestDuplicateAfterABrokenAttempt(t *testing.T) {
	t.Parallel()
	for _, live := range []bool{true, false} {
		t.Run(fmt.Sprintf("live %t", live), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{AllOrNothing: true})
			r.open()
			r.awaitState("one", Live)
			r.scrapes(1, 20)
			r.awaitSettled("one")
			// Somebody else writes one of the series, so that the next sample of it
			// is a duplicate with another value.
			at := time.Now().Add(time.Second)
			post(t, r.one(), labels.FromStrings("__name__", "m", "i", "3"), at.UnixMilli(), 99)
			if !live {
				r.goBehind("one")
			}
			r.one().RespondNext(agenttest.Answer{Reset: true}, agenttest.Answer{Reset: true})
			r.scrape(20, at)
			r.scrape(20, at.Add(time.Millisecond))
			if !live {
				r.last = at.Add(2 * time.Millisecond)
				r.one().Recover()
				r.one().RespondNext(agenttest.Answer{Reset: true})
			}
			l := r.awaitSettled("one")
			held := r.accepted("one") - 1
			if l.Delivered > held+1 {
				t.Errorf("the endpoint holds %d of %+v", held, l)
			}
			if l.Delivered+ledger.Total(l.Refused)+ledger.Total(l.Uncertain) != l.Appended || l.Delivered < l.Appended-2 {
				t.Errorf("the endpoint holds %d of %+v", held, l)
			}
		})
	}
}

// TestRenewFails: a certificate that vanishes between the check of a configuration
// and its turn does not disturb what is live, nor what is new.
func TestRenewFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.addDestination("two", agenttest.Manners{})
	ca := filepath.Join(r.dir, "ca.pem")
	secure, err := agenttest.NewEndpoint(agenttest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(secure.Close)
	if err := os.WriteFile(ca, secure.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	r.endpoints["secure"], r.extra["secure"] = secure, "    tls_config: {ca_file: "+ca+"}\n"
	r.open()
	for name := range r.endpoints {
		r.awaitState(name, Live)
	}
	r.extra["two"] = "    headers: {X-New: a}\n" // changed, so it is stopped and begun anew
	p, err := Prepare(r.config())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	if err := r.delivery.Apply(p); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, secure.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	r.scrapes(5, 20)
	for name := range r.endpoints {
		r.checkDelivered(name)
	}
}

// TestStopsInParallel: endpoints that hang are not waited for one after the other.
func TestStopsInParallel(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	const hanging = 24
	for i := range hanging {
		r.addDestination(fmt.Sprintf("hanging%d", i), agenttest.Manners{}).Respond(agenttest.Answer{Delay: time.Hour})
	}
	r.open()
	for name := range r.endpoints {
		r.awaitState(name, Live)
	}
	r.scrapes(3, 20)
	r.eventually("requests to hang", func() error {
		for name, e := range r.endpoints {
			if strings.HasPrefix(name, "hanging") && e.Snapshot().MaxInFlight == 0 {
				return fmt.Errorf("none at %s", name)
			}
		}
		return nil
	})
	begun := time.Now()
	r.close()
	// One after the other takes at least half a second each.
	if took := time.Since(begun); took > hanging*500*time.Millisecond {
		t.Errorf("the stop took %s", took)
	}
}

// post writes one sample as somebody else would.
func post(t testing.TB, e *agenttest.Endpoint, ls labels.Labels, at int64, v float64) {
	t.Helper()
	enc := remotewrite.NewEncoder(false)
	body, err := enc.Encode(false, []remotewrite.Item{{Series: &remotewrite.Series{Labels: ls}, T: at, V: v}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, e.URL(), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+agenttest.DefaultToken)
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatal(resp.Status)
	}
}

// TestOneOldSample: a series that is too old does not cost the others of its
// requests, at a receiver that rolls back.
func TestOneOldSample(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 10} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{AllOrNothing: true})
			r.open()
			r.awaitState("one", Live)
			r.scrapes(2, 20)
			r.awaitSettled("one")
			r.goBehind("one")
			for j := range 10 {
				at := r.next()
				app := r.append.AppenderV2(t.Context())
				for i := range 20 {
					r.add(app, labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), at, 1)
				}
				if j < n {
					r.add(app, labels.FromStrings("__name__", "old"), at.Add(-2*time.Hour), 1)
				}
				if err := app.Commit(); err != nil {
					t.Fatal(err)
				}
			}
			r.pass()
			r.one().Recover()
			l := r.awaitSettled("one")
			if ledger.Total(l.Refused) > uint64(n) || l.Delivered != r.accepted("one") {
				t.Errorf("the endpoint holds %d, %d are bad: %+v", r.accepted("one"), n, l)
			}
		})
	}
}

// TestCrashRollsBack: after a kill, a receiver that rolls back refuses a request
// whose first samples are there. That those of one series are there says nothing
// of the others.
func TestCrashRollsBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.options.SaveInterval = 0
	r.open()
	r.awaitState("one", Live)
	for range 2 {
		at := r.next()
		app := r.append.AppenderV2(t.Context())
		r.add(app, labels.FromStrings("__name__", "short"), at, 1)
		for i := range 20 {
			r.add(app, labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), at, 1)
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	r.crashInOutage()
	if l := r.awaitSettled("one"); l.Delivered != r.accepted("one") || l.Delivered != l.Appended {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
}

// TestExemplarsAreNoReason: exemplars are sent again at each hand-over, and no
// endpoint refuses a request for these.
func TestExemplarsAreNoReason(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.extra["one"] = "    send_exemplars: true\n"
	r.open()
	r.awaitState("one", Live)
	scrape := func() {
		at := r.next()
		app := r.append.AppenderV2(t.Context())
		ls := labels.FromStrings("__name__", "m")
		o := storage.AppendV2Options{Exemplars: []exemplar.Exemplar{{Labels: labels.FromStrings("id", at.String()), Value: 1, Ts: at.UnixMilli(), HasTs: true}}}
		if _, err := app.Append(0, ls, 0, at.UnixMilli(), 1, nil, nil, o); err != nil {
			t.Fatal(err)
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	scrape()
	r.awaitSettled("one")
	r.delivery.all()[0].learnPartial(partialRolledBack)
	r.goBehind("one")
	scrape()
	r.pass()
	r.one().Recover()
	r.awaitState("one", Live)
	r.checkDelivered("one")
}

// TestRefusedWhileLeaving: a batch that upstream gives up is held, also when the
// destination has gone behind a moment before its answer came.
func TestRefusedWhileLeaving(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	p, err := Prepare(r.config())
	if err != nil {
		t.Fatal(err)
	}
	book := ledger.NewBook(1, 0)
	from := backlog.Position{Generation: 1}
	sh := &shared{logger: log.NewNopLogger(), book: book}
	sh.overtaken.Store(&ledger.Overtaken{})
	d := newDestination(sh, p.endpoints[0], book.Open("one", ledger.Saved{Mark: from}, false))
	d.on(event{kind: drained})
	d.on(event{kind: handedOver})
	f := newFollower(d, &cursor{selection: selection.New(p.endpoints[0], d.slogger)}, p.endpoints[0], from)
	d.on(event{kind: lagging}) // as leave does, before it says so to the follower
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		f.after(ctx, upstreamqueue.Outcome{Samples: 5, Err: "server returned HTTP status 401 Unauthorized: x", Status: 401})
		if ctx.Err() == nil {
			t.Error("upstream goes on with the next batch after a 401")
		}
	}()
	r.eventually("the answer to be noted", func() error {
		if f.stopped() == nil {
			return errors.New("not yet")
		}
		return nil
	})
	cancel()
	<-returned
}
