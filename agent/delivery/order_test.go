package delivery

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// endings are the ways in which one run of a destination is followed by the next.
var endings = map[string]func(r *rig){
	"stop": func(r *rig) { r.close(); r.one().Recover(); r.open() },
	"kill": func(r *rig) { r.crash(); r.one().Recover(); r.open() },
	"reload": func(r *rig) {
		r.extra["one"] = "    headers: {X-New: a}\n" // changed: stopped and begun anew
		r.apply()
		r.one().Recover()
	},
}

// scrapesWith appends n scrapes of 20 series with one more among them, dated later by
// ahead.
func (r *rig) scrapesWith(n int, bad labels.Labels, ahead time.Duration) {
	r.t.Helper()
	for range n {
		at := r.next()
		app := r.append.AppenderV2(r.t.Context())
		for i := range 20 {
			if i == 15 {
				r.add(app, bad, at.Add(ahead), 1)
			}
			r.add(app, labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), at, 1)
		}
		if err := app.Commit(); err != nil {
			r.t.Fatal(err)
		}
	}
}

// away is an endpoint that is taken for one that comes back.
func away(*agenttest.Incoming) *agenttest.Answer { return &agenttest.Answer{Status: 503} }

// endAfter lets the endpoint answer 503 from the first request on that was taken with more
// than so many samples, but not the whole, and returns when it has answered so. Larger
// requests than limit are answered 413.
func (r *rig) endAfter(more, whole, limit int) {
	r.t.Helper()
	var taken, refused atomic.Bool
	r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
		n := in.Samples()
		switch {
		case taken.Load():
			refused.Store(true)
			return away(in)
		case n > limit:
			return &agenttest.Answer{Status: 413}
		}
		taken.Store(n > more && n < whole)
		return nil
	})
	r.awaitTrue("a part to be taken, and the next to wait", &refused)
}

// checkWhole checks that the endpoint has n samples of each of the 20 series m, and that
// so many are delivered and so many at the most of other series.
func (r *rig) checkWhole(n int, l ledger.Terms, others int) {
	r.t.Helper()
	whole := 0
	for _, s := range r.one().Snapshot().Series() {
		if s.Labels.Get("__name__") == "m" && s.Count >= n {
			whole++
		}
	}
	good := uint64(20*n + 1) // and the one that took it behind
	if whole != 20 || l.Delivered < good || l.Delivered > good+uint64(others) {
		r.t.Errorf("%d of 20 series are whole: %+v", whole, l)
	}
	if l.Delivered+ledger.Total(l.Refused)+ledger.Total(l.Uncertain) != l.Appended {
		r.t.Errorf("%+v", l)
	}
}

// TestEndsWhileSplit: a receiver that takes all or nothing has some series of a batch, or
// the older samples, when a run ends, and not the others. The next one takes none of these
// for delivered.
func TestEndsWhileSplit(t *testing.T) {
	t.Parallel()
	for ending, end := range endings {
		for name, c := range map[string]struct {
			bad    labels.Labels
			ahead  time.Duration
			others int // of the bad series, for what the endpoint may have of it
			more   int // samples of each scrape are taken before the end
		}{
			"a bad series":     {labels.FromStrings("__name__", "bad", "x", strings.Repeat("x", 2100)), 0, 0, 4},
			"a foreign series": {labels.FromStrings("__name__", "foreign"), 0, 1, 4},
			"too old":          {labels.FromStrings("__name__", "old"), -2 * time.Hour, 0, 0},
		} {
			t.Run(ending+", "+name, func(t *testing.T) {
				t.Parallel()
				const n = 7
				r := newRig(t, agenttest.Manners{AllOrNothing: true})
				r.options.SaveInterval = time.Hour
				r.openBehind()
				r.one().Recover()
				if name == "a foreign series" {
					post(t, r.one(), c.bad, time.Now().Add(5*time.Minute).UnixMilli(), 99)
				}
				r.one().RespondIf(away)
				r.scrapesWith(n, c.bad, c.ahead)
				r.pass()
				r.endAfter(c.more*n, 15*n, 1000)
				end(r)
				r.checkWhole(n, r.awaitSettled("one"), c.others*n)
			})
		}
	}
}

// TestEndsWhileTooLarge: what is only too large is sent in the order of the WAL, so that
// the next run need not ask about each sample.
func TestEndsWhileTooLarge(t *testing.T) {
	t.Parallel()
	const n = 11
	for ending, limit := range map[string]int{"stop": 1000, "kill": 12, "reload": 12} { // by the memory, or by 413
		t.Run(ending, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{AllOrNothing: true})
			r.options.SaveInterval = time.Hour
			r.queue = strings.Replace(r.queue, "max_samples_per_send: 500", "max_samples_per_send: 160", 1)
			r.openBehind()
			r.one().Recover()
			r.one().RespondIf(away)
			r.scrapes(n, 20)
			r.pass()
			if limit > n*20 {
				r.press(SmallBatches) // 100 samples
			}
			r.endAfter(4*n, 19*n, limit*n)
			if at := r.delivery.all()[0].account.Unordered(); !at.IsZero() {
				t.Errorf("sent out of order up to %s", at)
			}
			asked := len(r.one().Snapshot().Requests)
			endings[ending](r)
			r.checkWhole(n, r.awaitSettled("one"), 0)
			if asked = len(r.one().Snapshot().Requests) - asked; asked > 100 {
				t.Errorf("%d requests", asked)
			}
		})
	}
}

// TestEndsWithBackdatedOnes: targets may date their samples back, so that the newest one of
// a batch is not what an endpoint was sent last of it.
func TestEndsWithBackdatedOnes(t *testing.T) {
	t.Parallel()
	for ending, end := range endings {
		t.Run(ending, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{AllOrNothing: true})
			r.options.SaveInterval = time.Hour
			r.openBehind()
			r.one().Recover()
			r.awaitSettled("one")
			r.one().RespondIf(away)
			now := time.Now()
			for n, s := range []struct {
				name string
				ago  time.Duration
			}{
				{"a", 10 * time.Minute}, {"b", 20 * time.Minute}, {"a", time.Second},
				{"b", 15 * time.Minute}, {"b", 14 * time.Minute}, {"b", 13 * time.Minute},
			} {
				app := r.append.AppenderV2(t.Context())
				for i := range 20 {
					r.add(app, labels.FromStrings("__name__", s.name, "i", fmt.Sprint(i)), now.Add(-s.ago), float64(n))
				}
				if err := app.Commit(); err != nil {
					t.Fatal(err)
				}
			}
			r.pass()
			r.endAfter(50, 119, 62)
			end(r)
			if l := r.awaitSettled("one"); l.Delivered != l.Appended || l.Delivered != r.accepted("one") {
				t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
			}
		})
	}
}

// TestEndsWhileProbing: so is what an endpoint is asked with that has been ill for a while.
func TestEndsWhileProbing(t *testing.T) {
	t.Parallel()
	for receiver, manners := range allOrNothing {
		t.Run(receiver, func(t *testing.T) {
			t.Parallel()
			const n = 15
			for ending, end := range endings {
				t.Run(ending, func(t *testing.T) {
					t.Parallel()
					r := newRig(t, manners)
					r.options.SaveInterval = time.Hour
					r.openBehind()
					r.one().Recover()
					r.one().RespondIf(away)
					r.scrapes(n, 20)
					r.pass()
					var taken, refused atomic.Bool
					r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
						if taken.Load() || in.Samples() > 2*probeItems {
							refused.Store(taken.Load())
							return away(in)
						}
						taken.Store(true)
						return nil
					})
					r.awaitTrue("a probe to be taken, and the next to wait", &refused)
					asked := len(r.one().Snapshot().Requests)
					end(r)
					r.checkWhole(n, r.awaitSettled("one"), 0)
					if asked = len(r.one().Snapshot().Requests) - asked; asked > 100 {
						t.Errorf("%d requests", asked)
					}
				})
			}
		})
	}
}

// TestLateBeforeTheQueue: late samples arrive beside a live queue whose samples, before
// them in the WAL, do not. Those are not taken for delivered after a kill.
func TestLateBeforeTheQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.options.SaveInterval = time.Hour
	r.open()
	r.awaitState("one", Live)
	isLate := func(in *agenttest.Incoming) bool { return in.Samples() == 40 }
	var late atomic.Bool
	r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
		if isLate(in) {
			late.Store(true)
			return nil
		}
		return away(in)
	})
	for range 2 {
		at := r.next()
		app := r.append.AppenderV2(t.Context())
		for i := range 60 {
			r.add(app, labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), at, 1)
		}
		for i := range 40 {
			r.add(app, labels.FromStrings("__name__", "late", "i", fmt.Sprint(i)), at.Add(-time.Minute), 1)
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	r.delivery.Notify()
	r.eventually("the late ones to be sent", func() error {
		if !late.Load() || r.accepted("one") != 80 {
			return errors.New("not yet")
		}
		return nil
	})
	r.crash()
	r.pass()
	r.one().Recover()
	r.open()
	if l := r.awaitSettled("one"); l.Delivered != 200 || r.accepted("one") != 200 {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
}

// TestOrderIsLeftAfterItIsWritten: nothing is sent out of order before delivery.json says
// so, and a destination that waits for that is not waited for.
func TestOrderIsLeftAfterItIsWritten(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.options.SaveInterval = time.Hour
	r.openBehind()
	r.scrapesWith(5, labels.FromStrings("__name__", "bad", "x", strings.Repeat("x", 2100)), 0)
	r.pass()
	d := r.delivery.all()[0]
	d.learnPartial(partialRolledBack)
	r.delivery.marks.mtx.Lock() // as while they are written, or passed on
	unlock := sync.OnceFunc(r.delivery.marks.mtx.Unlock)
	defer unlock()
	before := r.accepted("one")
	r.one().Recover()
	r.eventually("it to want to leave the order", func() error {
		if d.account.Unordered().IsZero() {
			return errors.New("not yet")
		}
		return nil
	})
	d.leave(reconfigured)
	<-d.done
	if got := r.accepted("one"); got > before+1 { // the one that took it behind
		t.Errorf("%d were taken before it was written", got-before)
	}
	unlock()
	if saved, err := ledger.Load(r.dir); err != nil || !saved.Destinations["one"].Unordered.IsZero() {
		t.Errorf("it was written: %+v, %v", saved.Destinations, err)
	}
	// The next one goes the whole way.
	r.extra["one"] = "    headers: {X-New: a}\n"
	r.apply()
	r.checkWhole(5, r.awaitSettled("one"), 0)
	if saved, err := ledger.Load(r.dir); err != nil || saved.Destinations["one"].Unordered.IsZero() {
		t.Errorf("it was not written: %+v, %v", saved.Destinations, err)
	}
}

func TestTurn(t *testing.T) {
	t.Parallel()
	turn := newTurn()
	if err := turn.LockUntil(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := turn.LockUntil(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	turn.Unlock()
	if err := turn.LockUntil(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestExemplarsStayWithSamples: a part that is cut in the order of the WAL has no
// exemplars without a sample of their series, and neither half is empty.
func TestExemplarsStayWithSamples(t *testing.T) {
	t.Parallel()
	items := grouped([]int64{1, 2, 2}, []int64{1, 2, 1}, []int64{2, 2}, []int64{9, 9})
	for i, order := range []uint32{0, 4, 8, 1, 5, 2, 6, 9, 3, 7} {
		items[i].Order = order
	}
	for _, i := range []int{2, 5, 7, 9} { // a2, b1, c2, d9
		items[i].Kind = remotewrite.Exemplar
	}
	at := splitOrder(items, math.MaxUint32)
	got := [][]string{spell(items[:at]), spell(items[at:])}
	if want := [][]string{{"a1", "b1", "b1", "d9", "d9"}, {"a2", "a2", "b2", "c2", "c2"}}; !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%v, expected %v", got, want)
	}
	for _, of := range [][]remotewrite.Item{items[:2], items[3:5]} {
		for i := range of {
			of[i].Kind = remotewrite.Exemplar
		}
		if at := splitOrder(of, math.MaxUint32); at != 1 {
			t.Errorf("%v is cut at %d", spell(of), at)
		}
	}
}

// TestRefuse: a refusal tells what became of samples that may have been stored before
// only if it is about their series, and that of another one is not.
func TestRefuse(t *testing.T) {
	t.Parallel()
	aboutSeries := &remotewrite.Refusal{Status: 400, Body: "series has invalid label"}
	tooOld := &remotewrite.Refusal{Status: 400, Body: "out of bounds"}
	for _, c := range []struct {
		resent   bool
		refusals []*remotewrite.Refusal
		want     ledger.Outcome
	}{
		{false, []*remotewrite.Refusal{tooOld}, ledger.Outcome{Refused: map[string]uint64{"out_of_bounds": 2}}},
		{true, []*remotewrite.Refusal{tooOld}, ledger.Outcome{Uncertain: map[string]uint64{"out_of_bounds": 2}}},
		{true, []*remotewrite.Refusal{aboutSeries}, ledger.Outcome{Refused: map[string]uint64{"http_400": 2}}},
		{true, []*remotewrite.Refusal{aboutSeries, tooOld}, ledger.Outcome{Uncertain: map[string]uint64{"out_of_bounds": 2}}},
		{true, []*remotewrite.Refusal{tooOld, aboutSeries}, ledger.Outcome{Refused: map[string]uint64{"http_400": 2}}},
	} {
		p := part{items: grouped([]int64{1, 2}), resent: c.resent}
		s, o := search{}, ledger.Outcome{}
		for _, r := range c.refusals {
			s.judge(&p, r)
		}
		s.refuse(&p, &o, 2)
		if fmt.Sprint(o) != fmt.Sprint(c.want) {
			t.Errorf("resent %t, %v: %+v, expected %+v", c.resent, c.refusals, o, c.want)
		}
	}
}

// TestRefusedAfterATimeout: nor does one after a request with the same samples that may
// have been stored in this run.
func TestRefusedAfterATimeout(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.openBehind()
	r.scrapes(2, 20)
	r.one().RespondIf(func() func(in *agenttest.Incoming) *agenttest.Answer {
		var asked atomic.Int64
		return func(in *agenttest.Incoming) *agenttest.Answer {
			if in.Samples() >= 40 && asked.Add(1) == 1 {
				return &agenttest.Answer{Store: true, Reset: true}
			}
			return &agenttest.Answer{Status: 400, Body: "received an invalid write request"}
		}
	}())
	l := r.awaitSettled("one")
	if stored := r.accepted("one"); stored < 40 || ledger.Total(l.Uncertain) < stored || l.Delivered != 0 {
		t.Errorf("the endpoint holds %d of %+v", stored, l)
	}
}
