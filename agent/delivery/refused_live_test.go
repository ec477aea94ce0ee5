package delivery

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// refusedLive leaves a run that was killed before it wrote its marks for the time: an endpoint
// has refused a live batch for good, as somebody else writes ahead in one series, and has taken
// two newer samples of each of the others.
func (r *rig) refusedLive(series int) { r.refusedLiveOf(series, 1, series-1) }

// refusedLiveOf is refusedLive where so many scrapes are refused, and only the first of the
// series go on.
func (r *rig) refusedLiveOf(series, scrapes, on int) {
	r.t.Helper()
	r.options.SaveInterval = time.Hour
	r.open()
	r.awaitState("one", Live)
	r.scrapes(3, series)
	r.awaitSettled("one")
	post(r.t, r.one(), seriesOf(series-1), time.Now().Add(5*time.Minute).UnixMilli(), 99)
	r.scrapes(scrapes, series)
	l := r.awaitSettled("one")
	if ledger.Total(l.Uncertain) == 0 || r.status("one").State != Live {
		r.t.Fatalf("it is %s: %+v", r.status("one").State, l)
	}
	r.scrapes(2, on)
	r.awaitSettled("one")
	r.crash()
	r.pass()
}

// checkOlder checks that no more counts as delivered than the endpoint holds beside one sample
// of somebody else, and that no more is uncertain than there may be.
func (r *rig) checkOlder(uncertain int) {
	r.t.Helper()
	l := r.awaitSettled("one")
	unknown := ledger.Total(l.Uncertain)
	if held := r.accepted("one") - 1; l.Delivered > held || held > l.Delivered+unknown || l.Delivered+ledger.Total(l.Refused)+unknown != l.Appended {
		r.t.Errorf("the endpoint holds %d of %+v", held, l)
	}
	if unknown > uint64(uncertain) {
		r.t.Errorf("%d are uncertain: %+v", unknown, l)
	}
}

// TestRefusedLiveBeforeAKill: what was refused is not there, though it is refused as older than
// what is.
func TestRefusedLiveBeforeAKill(t *testing.T) {
	t.Parallel()
	for receiver, manners := range receivers {
		for _, series := range []int{2, 20, 1500} { // 1500: a record is several batches
			t.Run(fmt.Sprintf("%s, %d", receiver, series), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, manners)
				r.refusedLive(series)
				r.open()
				r.checkOlder(series)
			})
		}
	}
}

// TestRefusedLiveAndGone: what was refused with others, of series that ended then, arrives
// after the kill, all of it.
func TestRefusedLiveAndGone(t *testing.T) {
	t.Parallel()
	const series, on, scrapes = 20, 10, 2
	for receiver, manners := range allOrNothing {
		t.Run(receiver, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			r.refusedLiveOf(series, scrapes, on)
			r.open()
			r.checkOlder(scrapes * (on + 1))
			whole := 0
			for _, s := range r.one().Snapshot().Series() {
				if s.Count == 3+scrapes {
					whole++ // those that went on have the two after the refusal instead
				}
			}
			if whole != series-1 {
				t.Errorf("%d series are whole", whole)
			}
		})
	}
}

// TestRefusedLiveBeforeAnOutage: nor is it asked about sample by sample, where the endpoint is
// away when the next run begins.
func TestRefusedLiveBeforeAnOutage(t *testing.T) {
	t.Parallel()
	const series = 300
	for receiver, manners := range receivers {
		t.Run(receiver, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			r.refusedLive(series)
			r.one().RespondIf(away)
			before := r.requests("one")
			r.open()
			r.eventually("some attempts", func() error {
				if n := r.requests("one") - before; n < 20 {
					return fmt.Errorf("%d", n)
				}
				return nil
			})
			before = r.requests("one")
			r.one().Recover()
			r.checkOlder(series)
			if n := r.requests("one") - before; n > series {
				t.Errorf("%d requests for %d samples", n, 3*series)
			}
		})
	}
}

// TestRefusedLiveBeforeTwoKills: nor is it for a witness, where the next run was killed while
// it asked.
func TestRefusedLiveBeforeTwoKills(t *testing.T) {
	t.Parallel()
	const series = 20
	for receiver, manners := range receivers {
		t.Run(receiver, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			r.refusedLive(series)
			var n atomic.Int64
			r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
				if n.Add(1) > 2 {
					return away(in)
				}
				return nil
			})
			r.open()
			r.eventually("it to be asked", func() error {
				if saved := r.saved().Destinations["one"]; saved.Asked.Before.IsZero() && saved.Unordered.IsZero() {
					return fmt.Errorf("%+v", saved)
				}
				return nil
			})
			r.crash()
			r.one().Recover()
			r.open()
			r.checkOlder(series)
		})
	}
}

// TestRefusedBehindBeforeAKill: so it is where the drainer was refused.
func TestRefusedBehindBeforeAKill(t *testing.T) {
	t.Parallel()
	for receiver, manners := range receivers {
		t.Run(receiver, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			r.options.SaveInterval = time.Hour
			r.open()
			r.awaitState("one", Live)
			post(t, r.one(), seriesOf(5), time.Now().Add(5*time.Minute).UnixMilli(), 99)
			r.goBehind("one")
			r.scrapes(3, 20)
			r.pass()
			r.one().Recover()
			if l := r.awaitSettled("one"); l.Delivered > r.accepted("one")-1 {
				t.Errorf("the endpoint holds %d of %+v", r.accepted("one")-1, l)
			}
			r.eventually("the refusal to be known to the next run", func() error { // nothing newer is sent before
				if saved := r.saved().Destinations["one"]; saved.Refused.IsZero() {
					return fmt.Errorf("%+v", saved)
				}
				return nil
			})
			r.crash()
			r.open()
			r.checkOlder(61)
		})
	}
}

// TestAllRefusedBeforeAKill: and where it refused everything for a while.
func TestAllRefusedBeforeAKill(t *testing.T) {
	t.Parallel()
	for receiver, manners := range receivers {
		t.Run(receiver, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			r.options.SaveInterval = time.Hour
			r.open()
			r.awaitState("one", Live)
			r.scrapes(1, 20)
			r.awaitSettled("one")
			r.goBehind("one")
			r.one().Respond(agenttest.Answer{Status: 400, Body: "not now"})
			r.scrapes(3, 20)
			if l := r.awaitSettled("one"); l.Delivered != 20 {
				t.Fatalf("%+v", l)
			}
			r.one().Recover()
			r.scrapes(2, 20)
			r.awaitSettled("one")
			r.crash()
			r.pass()
			r.open()
			l := r.awaitSettled("one")
			if held, unknown := r.accepted("one"), ledger.Total(l.Uncertain); l.Delivered > held || held > l.Delivered+unknown {
				t.Errorf("the endpoint holds %d of %+v", held, l)
			}
		})
	}
}

// TestLeftOutIsOlder: that a series which was left out is refused for what is there tells that
// it is there only where nothing of it was refused before, nor dated by a clock that had been
// set back.
func TestLeftOutIsOlder(t *testing.T) {
	t.Parallel()
	r := newRig(t, receivers["Cortex"])
	r.options.MinStay = time.Hour
	r.open()
	r.awaitState("one", Live)
	r.scrapes(1, 1)
	r.awaitSettled("one")
	for name, c := range map[string]struct {
		was       earlier
		overtaken ledger.Overtaken
		delivered uint64
	}{
		"sent before":               {was: earlier{resent: true}, delivered: 1},
		"perhaps refused":           {was: earlier{resent: true, refused: true}},
		"dated by a clock set back": {was: earlier{resent: true}, overtaken: ledger.Overtaken{UpTo: r.last.UnixMilli()}},
	} {
		d := newSender(r.delivery.all()[0], nil)
		d.overtaken.Store(&c.overtaken)
		d.unwanted.note(unwantedSeries{labels: seriesOf(0), reason: "http_400"}, time.Now().Add(-d.unwanted.pause))
		items := []remotewrite.Item{{Series: &remotewrite.Series{Labels: seriesOf(0)}, T: r.last.UnixMilli() - 1, V: 1}}
		var o ledger.Outcome
		left, err := d.leaveOut(t.Context(), items, c.was, &o)
		if err != nil || len(left) > 0 || o.Delivered != c.delivered || o.Total() != 1 || ledger.Total(o.Refused) > 0 {
			t.Errorf("%s: %+v, and %d are left, %v", name, o, len(left), err)
		}
	}
}
