package delivery

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// scrapeMixed appends n scrapes of so many good series, and of bad ones, whose
// labels no Cortex takes: the first one, the last, and some in between.
func (r *rig) scrapeMixed(n, good, bad int) {
	r.t.Helper()
	isBad := map[int]bool{}
	for i := range bad {
		isBad[i*(good+bad-1)/max(1, bad-1)] = true
	}
	for range n {
		at := r.next()
		app := r.append.AppenderV2(r.t.Context())
		for i := range good + bad {
			ls := labels.FromStrings("__name__", "m", "i", fmt.Sprint(i))
			if isBad[i] {
				ls = labels.FromStrings("__name__", "bad", "i", fmt.Sprint(i), "x", strings.Repeat("x", 2100))
			}
			r.add(app, ls, at, 1)
		}
		if err := app.Commit(); err != nil {
			r.t.Fatal(err)
		}
	}
}

// checkRefused waits until all is settled, and checks that the ledger says what the
// endpoint holds, to the sample, but for so many of which nobody knows.
func (r *rig) checkRefused(name string, uncertain uint64) ledger.Terms {
	r.t.Helper()
	l := r.awaitSettled(name)
	held := r.accepted(name)
	if n := ledger.Total(l.Uncertain); n > uncertain {
		r.t.Errorf("%s: %d samples are uncertain, more than %d: %+v", name, n, uncertain, l)
	}
	if l.Delivered > held || held > l.Delivered+ledger.Total(l.Uncertain) || l.Delivered+ledger.Total(l.Refused)+ledger.Total(l.Uncertain) != l.Appended {
		r.t.Errorf("%s: the endpoint holds %d of %+v", name, held, l)
	}
	if err := r.endpoints[name].Snapshot().CheckInOrder(); err != nil {
		r.t.Errorf("%s: %v", name, err)
	}
	return l
}

// requests that an endpoint got so far.
func (r *rig) requests(name string) int { return len(r.endpoints[name].Snapshot().Requests) }

var bothManners = map[string]agenttest.Manners{"Cortex": {}, "Prometheus": {AllOrNothing: true}}

// TestBadSeriesWhileLive: a series that an endpoint refuses for its labels costs
// itself, exactly; it is found with few requests, named, left out, and not asked
// about with each batch. Nothing else notices, neither another destination. When it
// is gone, the destination lives again.
func TestBadSeriesWhileLive(t *testing.T) {
	t.Parallel()
	for name, manners := range bothManners {
		for _, series := range []int{500, 20} { // one sample of each in a batch, or many
			t.Run(fmt.Sprintf("%s, %d", name, series), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, manners)
				r.addDestination("other", agenttest.Manners{})
				r.extra["other"] = "    write_relabel_configs: [{source_labels: [__name__], regex: bad, action: drop}]\n"
				r.open()
				r.awaitState("one", Live)
				r.awaitState("other", Live)
				since := r.status("other").Since
				r.scrapes(2, series)
				r.awaitSettled("one")
				before := r.requests("one")
				r.scrapeMixed(30, series, 1)
				r.awaitState("one", Behind)
				l := r.checkRefused("one", 0)
				if l.Refused["http_400"] != 30 {
					t.Errorf("%+v", l)
				}
				// The batches, the way to the series twice at the most, and what is asked
				// again while this takes.
				if n := r.requests("one") - before; n > 160 {
					t.Errorf("%d requests", n)
				}
				if s := r.status("one"); s.State != Behind || !strings.Contains(s.Why, `{__name__="bad", i="0"`) || !strings.Contains(s.Why, "label value too long") || !strings.Contains(s.LastError, "label value too long") {
					t.Errorf("%s, it says %q, and last %q", s.State, s.Why, s.LastError)
				}
				if s := r.status("other"); s.State != Live || !s.Since.Equal(since) {
					t.Errorf("the other is %s: %s", s.State, s.Why)
				}
				r.awaitState("one", Live)
				r.scrapes(2, series)
				r.checkRefused("one", 0)
				if s := r.status("one"); s.State != Live || s.Why != "" || s.LeftOut > 0 {
					t.Errorf("it is %s, %q", s.State, s.Why)
				}
				if l := r.awaitSettled("other"); l.Delivered != r.accepted("other") || l.Filtered["relabelled"] != 30 {
					t.Errorf("the other holds %d of %+v", r.accepted("other"), l)
				}
			})
		}
	}
}

// TestLeftOutSeriesCostNothing: as long as series are left out, a batch is a
// request, but for one that asks about one of them again now and then.
func TestLeftOutSeriesCostNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.openBehind() // so that nothing is asked again
	r.one().Recover()
	r.scrapeMixed(2, 500, 3)
	r.awaitSettled("one")
	before := r.requests("one")
	const batches = 10
	for range batches {
		r.scrapeMixed(1, 500, 3)
		r.awaitSettled("one")
	}
	if n := r.requests("one") - before; n > batches {
		t.Errorf("%d batches took %d requests", batches, n)
	}
	if l := r.checkRefused("one", 0); l.Refused["http_400"] != 36 {
		t.Errorf("%+v", l)
	}
	if s := r.status("one"); s.ETASeconds != 0 || s.State != Behind {
		t.Errorf("it is %s, done in %f s", s.State, s.ETASeconds)
	}
}

// TestManyBadSeries: of many, those that are not found with the first batch are with
// the next ones, and until then uncertain at the worst.
func TestManyBadSeries(t *testing.T) {
	t.Parallel()
	for name, manners := range bothManners {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			r.open()
			r.awaitState("one", Live)
			for range 8 {
				r.scrapeMixed(2, 460, 40)
				r.awaitSettled("one")
			}
			l := r.checkRefused("one", 3500) // of 8,000
			before := ledger.Total(l.Uncertain)
			for range 4 {
				r.scrapeMixed(2, 460, 40)
				r.awaitSettled("one")
			}
			if l = r.checkRefused("one", before); ledger.Total(l.Refused) < 4*2*40 {
				t.Errorf("%+v", l)
			}
		})
	}
}

// limitSeries makes an endpoint refuse the series named m for their number while on
// is true. It stores the others of a request as Cortex does, or nothing.
func limitSeries(e *agenttest.Endpoint, on *atomic.Bool, store bool) {
	e.RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
		if in.Write == nil || !on.Load() {
			return nil
		}
		n := len(in.Write.Timeseries)
		limited := func(ts prompb.TimeSeries) bool {
			return slices.ContainsFunc(ts.Labels, func(l prompb.Label) bool { return l.Name == "__name__" && l.Value == "bad" })
		}
		if rest := slices.DeleteFunc(slices.Clone(in.Write.Timeseries), limited); len(rest) < n {
			if store {
				in.Write.Timeseries = rest
			}
			return &agenttest.Answer{Status: 400, Body: "user=default: per-user series limit of 10 exceeded, please contact administrator to raise it", Store: store}
		}
		return nil
	})
}

// scrapeLimited appends a scrape of good series and some that limitSeries refuses.
func (r *rig) scrapeLimited(good, limited int) {
	r.t.Helper()
	at := r.next()
	app := r.append.AppenderV2(r.t.Context())
	for i := range good {
		r.add(app, labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), at, 1)
	}
	for i := range limited {
		r.add(app, labels.FromStrings("__name__", "bad", "i", fmt.Sprint(i)), at, 1)
	}
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

// TestSeriesLimitLifted: series that were refused for a limit are taken again, all
// of them, soon after the endpoint takes them.
func TestSeriesLimitLifted(t *testing.T) {
	t.Parallel()
	for name, manners := range bothManners {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			var on atomic.Bool
			on.Store(true)
			limitSeries(r.one(), &on, !manners.AllOrNothing)
			r.open()
			r.awaitState("one", Live)
			for range 5 {
				r.scrapeLimited(100, 5)
				r.awaitSettled("one")
			}
			l := r.checkRefused("one", 0)
			if l.Refused["http_400"] != 25 {
				t.Errorf("%+v", l)
			}
			on.Store(false)
			r.eventually("all series to be taken", func() error {
				from := r.awaitSettled("one")
				r.scrapeLimited(100, 5)
				if l = r.awaitSettled("one"); l.Delivered-from.Delivered < 105 {
					return fmt.Errorf("%d of 105", l.Delivered-from.Delivered)
				}
				return nil
			})
			r.checkRefused("one", 0)
			r.awaitState("one", Live)
			r.scrapeLimited(100, 5)
			r.checkRefused("one", 0)
			if s := r.status("one"); s.State != Live {
				t.Errorf("it is %s, %q", s.State, s.Why)
			}
		})
	}
}

// TestRefusesEverySeries: an endpoint that refuses everything in such words is asked
// twice for each batch, whatever it does with good samples; nothing is remembered of
// it, and it is not gone live with again and again.
func TestRefusesEverySeries(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]partialWrites{"unknown": partialUnknown, "stores": partialStored, "rolls back": partialRolledBack} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{AllOrNothing: known == partialRolledBack})
			r.open()
			r.awaitState("one", Live)
			r.delivery.all()[0].learnPartial(known)
			r.one().Respond(agenttest.Answer{Status: 400, Body: "user=default: per-user series limit of 10 exceeded"})
			for range 8 { // to learn what it is like
				r.scrapes(3, 40)
				r.awaitSettled("one")
			}
			since := r.status("one").Since
			before := r.requests("one")
			const batches = 5
			for range batches {
				r.scrapes(1, 40)
				r.awaitSettled("one")
			}
			if n := r.requests("one") - before; n > 2*batches {
				t.Errorf("%d batches took %d requests", batches, n)
			}
			if s := r.status("one"); s.State != Behind || !s.Since.Equal(since) || s.Ledger.Delivered > 0 {
				t.Errorf("%s since %s, after %s: %+v", s.State, s.Since, since, s.Ledger)
			}
			r.one().Recover()
			r.scrapeMixed(1, 40, 1)
			from := r.awaitSettled("one")
			r.scrapeMixed(2, 40, 1)
			if l := r.checkRefused("one", ledger.Total(from.Uncertain)); l.Delivered != from.Delivered+80 || ledger.Total(l.Refused) != ledger.Total(from.Refused)+2 {
				t.Errorf("%+v, and before %+v", l, from)
			}
		})
	}
}

// TestRefusedOnce: a live batch that is refused for a series, and taken when it is
// sent again, is delivered, and does not send the destination to and fro.
func TestRefusedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.MinStay = time.Hour
	r.open()
	r.awaitState("one", Live)
	r.one().RespondNext(agenttest.Answer{Status: 400, Body: "user=default: per-user series limit of 10 exceeded"})
	r.scrapes(3, 20)
	r.awaitState("one", Behind)
	r.checkDelivered("one")
	u := newSender(r.delivery.all()[0], nil).unwanted
	if now := time.Now(); u.quiet(now) || !u.quiet(now.Add(quietPauses*askPause*time.Hour)) {
		t.Errorf("quiet at once, or never: %+v", u)
	}
}

// TestBadTimeWhileLive: a refusal for the time of a sample tells nothing of the next
// one, so the destination stays live, and the batch is uncertain.
func TestBadTimeWhileLive(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	r.awaitState("one", Live)
	since := r.status("one").Since
	for range 5 {
		at := r.next()
		app := r.append.AppenderV2(t.Context())
		for i := range 20 {
			r.add(app, labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), at, 1)
		}
		r.add(app, labels.FromStrings("__name__", "new"), at.Add(time.Hour), 1)
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	l := r.awaitSettled("one")
	if s := r.status("one"); s.State != Live || !s.Since.Equal(since) || r.accepted("one") != 100 || l.Uncertain["out_of_bounds"] != 105 {
		t.Errorf("%s, the endpoint holds %d of %+v", s.State, r.accepted("one"), l)
	}
}

// TestBadSeriesAmongTrouble: answers that waiting can mend, in the middle of the way
// to a series, change nothing but how long it takes.
func TestBadSeriesAmongTrouble(t *testing.T) {
	t.Parallel()
	for name, manners := range bothManners {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			r.open()
			r.awaitState("one", Live)
			var n atomic.Int64
			r.one().RespondIf(func(*agenttest.Incoming) *agenttest.Answer {
				switch n.Add(1) % 13 {
				case 2:
					return &agenttest.Answer{Status: 502}
				case 6:
					return &agenttest.Answer{Reset: true, Store: true}
				case 10:
					return &agenttest.Answer{Reset: true}
				}
				return nil
			})
			r.scrapeMixed(6, 100, 2)
			l := r.checkRefused("one", 0)
			if l.Refused["http_400"] != 12 {
				t.Errorf("%+v", l)
			}
		})
	}
}

// TestBadSeriesCrash: a kill while a refused batch is waiting for a better answer
// costs nothing: what was stored of it is delivered, and what was not is refused.
func TestBadSeriesCrash(t *testing.T) {
	t.Parallel()
	for name, manners := range bothManners {
		for _, series := range []int{300, 10} {
			t.Run(fmt.Sprintf("%s, %d", name, series), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, manners)
				r.options.SaveInterval = 0
				r.open()
				r.awaitState("one", Live)
				var refused atomic.Bool
				r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
					if in.Write != nil && refused.Load() {
						return &agenttest.Answer{Status: 503}
					}
					for _, ts := range in.Write.Timeseries {
						if slices.ContainsFunc(ts.Labels, func(l prompb.Label) bool { return l.Value == "bad" }) {
							refused.Store(true) // this one is answered, none after it
						}
					}
					return nil
				})
				r.scrapeMixed(4, series, 1)
				r.awaitState("one", Behind)
				r.scrapeMixed(4, series, 1)
				r.crash()
				r.pass()
				r.one().Recover()
				r.open()
				l := r.checkRefused("one", 0)
				if l.Refused["http_400"] != 8 {
					t.Errorf("%+v", l)
				}
			})
		}
	}
}
