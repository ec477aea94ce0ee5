package delivery

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/backlog"
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
		right   bool // the next run's clock is right again
	}{
		{"Cortex", agenttest.Manners{}, false, false},
		{"Prometheus", agenttest.Manners{AllOrNothing: true, Window: -1}, false, false},
		{"Prometheus, after a crash", agenttest.Manners{AllOrNothing: true, Window: -1}, true, false},
		{"Prometheus, after a crash, the clock is right again", agenttest.Manners{AllOrNothing: true, Window: -1}, true, true},
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
				if got, want := r.saved().Overtaken, (ledger.Overtaken{UpTo: r.wentBack.UnixMilli(), From: 2}); got != want {
					t.Errorf("the marks have %v, want %v", got, want)
				}
				if tc.right {
					r.wentBack = time.Time{}
				}
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

// TestLimitAfterAStepBack: nor is it where the request was refused for another series, at an
// endpoint that is known to store the others.
func TestLimitAfterAStepBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, receivers["Cortex"])
	r.open()
	r.awaitState("one", Live)
	r.scrapes(1, 5)
	before := r.awaitSettled("one").Delivered
	r.close()

	r.wentBack = time.Now().Add(time.Second)
	r.one().Respond(agenttest.Answer{Status: 401, Body: "bad authentication token"})
	r.open()
	old := time.Now().Add(-30 * time.Minute)
	app := r.append.AppenderV2(t.Context())
	for i := range 5 {
		r.add(app, seriesOf(i), old, 1)
	}
	r.add(app, labels.FromStrings("__name__", "bad"), old, 1)
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	r.awaitState("one", Behind)
	r.crash()
	r.open()
	r.delivery.all()[0].learnPartial(partialStored)
	var on atomic.Bool
	on.Store(true)
	limitSeries(r.one(), &on, true)
	r.one().RespondFor(time.Nanosecond, agenttest.Answer{}) // the hook stays
	if l := r.awaitSettled("one"); l.Delivered != before || r.accepted("one") != before || ledger.Total(l.Uncertain)+ledger.Total(l.Refused) != 6 {
		t.Errorf("the endpoint holds %d, as before, of %+v", r.accepted("one"), l)
	}
}

// TestAskedAboutAStepBack: what the endpoint does with partial writes is found out although
// some samples on disk are dated by a clock that had been set back: these are left out where
// series have been followed before, and where they come first, it is found out behind them.
func TestAskedAboutAStepBack(t *testing.T) {
	t.Parallel()
	const n, series = 10, 60
	for name, tc := range map[string]struct {
		before bool // there are others before
		by     time.Duration
	}{
		"half an hour":        {true, 30 * time.Minute},
		"among what is there": {true, time.Millisecond},
		"first":               {false, 30 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, stored := closedRig(t, agenttest.Manners{})
			r.options.MinStay = 10 * time.Second
			sent := func() {
				r.unsaid(func() {
					r.scrapes(n, series)
					stored += n * series
					r.awaitAccepted(stored)
				})
			}
			if tc.before {
				sent()
			}
			r.wentBack = r.last
			r.unsaid(func() { r.scrape(series, r.last.Add(-tc.by)) })
			r.wentBack = time.Time{}
			sent()
			requests := r.requests("one")
			r.open()
			r.scrapes(toTell, series) // which the endpoint cannot have
			l := r.awaitSettled("one")
			if got := r.requests("one") - requests; got > 300 {
				t.Errorf("%d requests", got)
			}
			if l.Delivered > r.accepted("one") || l.Delivered != l.Appended-series || ledger.Total(l.Uncertain) != series {
				t.Errorf("the endpoint holds %d: %+v", r.accepted("one"), l)
			}
		})
	}
}

// TestPassed: a time that was wrong is forgotten when every destination has left behind what
// was written before this run, and then taken samples for long enough without finding one
// out of order; and not before.
func TestPassed(t *testing.T) {
	t.Parallel()
	at := func(generation int, delivered, outOfOrder uint64) ledger.Saved {
		return ledger.Saved{Mark: backlog.Position{Generation: generation}, Terms: ledger.Terms{
			Delivered: delivered, Uncertain: map[string]uint64{"out_of_order": outOfOrder, "http_400": delivered},
		}}
	}
	type look struct {
		after    time.Duration
		one, two ledger.Saved
		passed   bool
	}
	for name, looks := range map[string][]look{
		"all is taken": {
			{0, at(7, 100, 5), at(7, 200, 0), false},
			{passedAfter - 1, at(7, 101, 5), at(7, 201, 0), false},
			{passedAfter, at(7, 101, 5), at(7, 201, 0), true},
		},
		"a backlog first": {
			{0, at(6, 100, 5), at(7, 200, 0), false},
			{passedAfter, at(6, 101, 5), at(7, 201, 0), false},
			{passedAfter + 1, at(7, 102, 5), at(7, 201, 0), false},
			{2 * passedAfter, at(7, 103, 5), at(7, 202, 0), false},
			{2*passedAfter + 1, at(7, 103, 5), at(7, 202, 0), true},
		},
		"one gets nothing": {
			{0, at(7, 100, 5), at(7, 200, 0), false},
			{passedAfter, at(7, 100, 5), at(7, 201, 0), false},
			{passedAfter + 1, at(7, 101, 5), at(7, 201, 0), true},
		},
		"one refuses at first": {
			{0, at(7, 100, 5), at(7, 200, 0), false},
			{1, at(7, 101, 6), at(7, 201, 0), false},
			{passedAfter, at(7, 102, 6), at(7, 202, 0), false},
			{passedAfter + 1, at(7, 102, 6), at(7, 202, 0), true},
		},
	} {
		var p passed
		begun := time.Now()
		for i, l := range looks {
			if got := p.look(begun.Add(l.after), 7, map[string]ledger.Saved{"one": l.one, "two": l.two}); got != l.passed {
				t.Errorf("%s: look %d: %v", name, i, got)
			}
		}
	}
	var p passed
	if p.look(time.Now(), 7, nil) || p.look(time.Now().Add(passedAfter), 7, nil) {
		t.Error("without destinations, it has passed")
	}
}

// TestLatest: what was scraped before a kill tells of a time that the clock has had, though
// the marks were written before it was set forward; what a target dates ahead does not.
func TestLatest(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	r.awaitState("one", Live)
	ahead := time.Now().Add(5 * time.Minute).Truncate(time.Millisecond)
	app := r.append.AppenderV2(t.Context())
	r.add(app, seriesOf(0), ahead.Add(time.Hour), 1)
	r.add(app, seriesOf(1), ahead, 1) // as what upstream reports on a scrape
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	if had := r.saved().Written; had >= ahead.UnixMilli() {
		t.Fatalf("the marks have %d", had)
	}
	r.crash()
	r.open()
	if got := r.delivery.Latest(); !got.Equal(ahead) {
		t.Errorf("got %v, want %v", got, ahead)
	}
}

func TestClockOf(t *testing.T) {
	t.Parallel()
	saved := ledger.File{Written: 1000, Tail: backlog.Position{Generation: 3}}
	for name, tc := range map[string]struct {
		scraped   []backlog.Scraped
		latest    int64
		overtaken ledger.Overtaken
	}{
		"nothing":               {nil, 1000, ledger.Overtaken{}},
		"of the same run":       {[]backlog.Scraped{{Generation: 3, First: 900, Last: 1200}}, 1200, ledger.Overtaken{}},
		"one after the other":   {[]backlog.Scraped{{Generation: 3, First: 900, Last: 1200}, {Generation: 4, First: 1200, Last: 1300}}, 1300, ledger.Overtaken{}},
		"set back since":        {[]backlog.Scraped{{Generation: 3, First: 900, Last: 1200}, {Generation: 4, First: 300, Last: 500}}, 1200, ledger.Overtaken{UpTo: 1200, From: 4}},
		"set back, right again": {[]backlog.Scraped{{Generation: 4, First: 300, Last: 500}, {Generation: 5, First: 1500, Last: 1600}}, 1600, ledger.Overtaken{UpTo: 1000, From: 4}},
		"within one run":        {[]backlog.Scraped{{Generation: 4, First: 300, Last: 1500}}, 1500, ledger.Overtaken{UpTo: 1000, From: 4}},
		"twice":                 {[]backlog.Scraped{{Generation: 4, First: 300, Last: 1500}, {Generation: 5, First: 400, Last: 500}}, 1500, ledger.Overtaken{UpTo: 1500, From: 4}},
	} {
		if latest, overtaken := clockOf(saved, tc.scraped); latest != tc.latest || overtaken != tc.overtaken {
			t.Errorf("%s: got %d, %v", name, latest, overtaken)
		}
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
