package delivery

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// grouped builds items of series a, b, …, from their times.
func grouped(times ...[]int64) []remotewrite.Item {
	var out []remotewrite.Item
	for i, ts := range times {
		series := &remotewrite.Series{Labels: labels.FromStrings("__name__", string(rune('a'+i)))}
		for _, t := range ts {
			out = append(out, remotewrite.Item{Series: series, T: t})
		}
	}
	return out
}

// spell writes items as a1 a2 b1.
func spell(items []remotewrite.Item) (out []string) {
	for _, it := range items {
		out = append(out, it.Series.Labels.Get("__name__")+strconv.FormatInt(it.T, 10))
	}
	return out
}

func TestSplitPoint(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		items []remotewrite.Item
		want  int
	}{
		{grouped([]int64{1, 2}), 1},
		{grouped([]int64{1, 2, 3}), 1},
		{grouped([]int64{1}, []int64{1}), 1},
		{grouped([]int64{1, 2, 3, 4, 5}, []int64{1}), 5},
		{grouped([]int64{1}, []int64{1, 2, 3, 4, 5}), 1},
		{grouped([]int64{1, 2}, []int64{1, 2}, []int64{1, 2}), 2},
	} {
		if got := splitPoint(c.items); got != c.want {
			t.Errorf("%v is cut at %d, expected %d", spell(c.items), got, c.want)
		}
	}
}

func TestSplitTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		items       []remotewrite.Item
		older, rest []string
	}{
		{grouped([]int64{5, 5}), nil, []string{"a5", "a5"}},
		{grouped([]int64{1, 9}, []int64{2, 8}), []string{"a1", "b2"}, []string{"a9", "b8"}},
		{grouped([]int64{1, 2}, []int64{1, 100}), []string{"a1", "a2", "b1"}, []string{"b100"}},
	} {
		at := splitTime(c.items)
		if got := spell(c.items[:at]); !slices.Equal(got, c.older) {
			t.Errorf("older: %v, expected %v", got, c.older)
		}
		if got := spell(c.items[at:]); !slices.Equal(got, c.rest) {
			t.Errorf("newer: %v, expected %v", got, c.rest)
		}
	}
}

// TestSplitTimeKeepsOrder: halves stay grouped and ascending, nothing is lost,
// and no newer sample of a series is in the first half.
func TestSplitTimeKeepsOrder(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		times := make([][]int64, 1+r.IntN(6))
		for i := range times {
			for range 1 + r.IntN(5) {
				times[i] = append(times[i], r.Int64N(20))
			}
			slices.Sort(times[i])
		}
		items := grouped(times...)
		before := spell(items)
		at := splitTime(items)
		after := spell(items)
		slices.Sort(before)
		sorted := slices.Clone(after)
		slices.Sort(sorted)
		if !slices.Equal(before, sorted) {
			t.Fatalf("%v became %v", before, sorted)
		}
		last := map[*remotewrite.Series]int64{}
		for _, half := range [][]remotewrite.Item{items[:at], items[at:]} {
			for i, it := range half {
				if seen, ok := last[it.Series]; ok && it.T < seen {
					t.Fatalf("%v goes backwards at %v", after, spell(half[i:]))
				}
				last[it.Series] = it.T
			}
		}
	}
}

func TestTypicalSeries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		items    []remotewrite.Item
		from, to int
	}{
		{nil, 0, 0},
		{grouped([]int64{1, 2, 3}), 0, 3},
		{grouped([]int64{1}, []int64{7, 8}, []int64{6, 7, 8}), 1, 3},          // one that is old does not count
		{grouped([]int64{7, 8, 9}, []int64{8, 9}, []int64{100}), 3, 5},        // nor one that is stamped ahead
		{grouped([]int64{1, 2}, []int64{2}, []int64{1, 2}, []int64{9}), 2, 3}, // of those that end together, the shortest
	} {
		if from, to := typicalSeries(c.items); from != c.from || to != c.to {
			t.Errorf("%v: %d to %d, expected %d to %d", spell(c.items), from, to, c.from, c.to)
		}
	}
	exemplars := grouped([]int64{1})
	exemplars[0].Kind = remotewrite.Exemplar
	if from, to := typicalSeries(exemplars); from != to {
		t.Errorf("an exemplar is taken for a sample")
	}
}

func TestLastInOrder(t *testing.T) {
	t.Parallel()
	items := grouped([]int64{1, 5, 9}, []int64{2, 5})
	wal := []remotewrite.Item{items[0], items[3], items[1], items[4], items[2]} // a1 b2 a5 b5 a9
	for i := range wal {
		wal[i].Order = uint32(i)
	}
	last := lastInOrder(wal, 8)
	if got := spell([]remotewrite.Item{last}); got[0] != "b5" {
		t.Errorf("the last is %v", got)
	}
	if from, to := runUpTo(items, last); from != 3 || to != 5 {
		t.Errorf("its run is %d to %d", from, to)
	}
	if from, to := runUpTo(items, items[1]); from != 0 || to != 2 {
		t.Errorf("the run up to a5 is %d to %d", from, to)
	}
	if last := lastInOrder(nil, 8); last.Series != nil {
		t.Errorf("the last of nothing is %v", last)
	}
}

func TestOlderOfPairs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		items []remotewrite.Item
		want  []string
	}{
		{grouped([]int64{1}, []int64{2}), nil},
		{grouped([]int64{5, 5}), nil}, // one time is no pair
		{grouped([]int64{1, 2, 3}, []int64{4}, []int64{5, 6}), []string{"a1", "c5"}},
		{grouped([]int64{1, 2}, []int64{1, 2}, []int64{1, 2}, []int64{1, 2}), []string{"a1", "b1", "c1"}},
	} {
		var got []string
		for _, i := range olderOfPairs(c.items, mostAsked) {
			got = append(got, spell(c.items[i:i+1])...)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, expected %v", spell(c.items), got, c.want)
		}
	}
}

// TestBudget: an endpoint that refuses everything is asked ever less.
func TestBudget(t *testing.T) {
	t.Parallel()
	d := &sender{budget: mostInVain}
	var got []int
	for range 4 {
		d.learnBudget(&search{budget: d.budget, refusals: d.budget})
		got = append(got, d.budget)
	}
	if !slices.Equal(got, []int{8, 2, 1, 1}) {
		t.Errorf("the budget went %v", got)
	}
	d.learnBudget(&search{budget: 1})
	if d.budget != 1 {
		t.Errorf("a batch without a word made it %d", d.budget)
	}
	d.learnBudget(&search{budget: 1, refusals: 5, taken: true})
	if d.budget != mostInVain {
		t.Errorf("after a part that was taken it is %d", d.budget)
	}
}

// TestRefusedAfterAKill: what is sent again after a kill may be stored. That an endpoint
// refuses it then, for no reason that a series would give, does not tell; what it never
// got before is refused.
func TestRefusedAfterAKill(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.SaveInterval = time.Hour
	r.options.MinStay = time.Hour
	r.open()
	r.awaitState("one", Live)
	r.scrapes(3, 20)
	r.awaitSettled("one")
	r.crash()
	r.pass()
	r.one().Respond(agenttest.Answer{Status: 400, Body: "received an invalid write request"})
	r.open()
	if l := r.awaitSettled("one"); ledger.Total(l.Refused) != 0 || ledger.Total(l.Uncertain) != 60 {
		t.Errorf("sent again: %+v", l)
	}
	r.goBehind("one")
	r.scrapes(2, 20)
	r.one().Respond(agenttest.Answer{Status: 400, Body: "received an invalid write request"})
	// The one that took it behind, too: 401 says that it was not stored.
	r.eventually("new ones to be refused", func() error {
		if l := r.status("one").Ledger; ledger.Total(l.Refused) != 41 || ledger.Total(l.Uncertain) != 60 {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
}

// scrapeWithOld is a scrape of 20 series behind a sample that is out of the endpoint's window.
func (r *rig) scrapeWithOld() {
	r.t.Helper()
	at := r.next()
	app := r.append.AppenderV2(r.t.Context())
	r.add(app, labels.FromStrings("__name__", "old"), at.Add(-2*time.Hour), 1)
	for i := range 20 {
		r.add(app, seriesOf(i), at, 1)
	}
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

// TestAskOneOvertakesNone: after a kill, a sample out of the window leads to the
// question whether one series passes. Of one whose first samples are there, the
// newest must not overtake those that are not.
func TestAskOneOvertakesNone(t *testing.T) {
	t.Parallel()
	for receiver, manners := range allOrNothing {
		t.Run(receiver, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			r.options.SaveInterval = 0
			r.open()
			r.awaitState("one", Live)
			r.scrapeWithOld()
			r.crashInOutage()
			l := r.awaitSettled("one")
			// The old one may be there since before the kill, and is refused now.
			held := r.accepted("one")
			if l.Delivered > held || held < l.Appended-1 || l.Delivered < l.Appended-1 {
				t.Errorf("the endpoint holds %d of %+v", held, l)
			}
			if err := r.one().Snapshot().CheckInOrder(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOldHalf: a request is too large, and the older half of it is out of the endpoint's
// window: the newer one arrives.
func TestOldHalf(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.openBehind()
	r.one().Recover()
	r.one().RespondIf(away)
	r.scrapes(12, 20)
	old := r.last.UnixMilli()
	r.scrapes(12, 20)
	r.pass()
	r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
		if in.Samples() > 300 {
			return &agenttest.Answer{Status: 413}
		}
		for _, s := range in.Write.Timeseries {
			for _, p := range s.Samples {
				if p.Timestamp <= old {
					return &agenttest.Answer{Status: 400, Body: "out of bounds"}
				}
			}
		}
		return nil
	})
	if l := r.awaitSettled("one"); l.Delivered != 12*20 || ledger.Total(l.Refused)+ledger.Total(l.Uncertain) != 12*20+1 || r.accepted("one") != l.Delivered {
		t.Errorf("the endpoint holds %d: %+v", r.accepted("one"), l)
	}
}

// TestStoredBeforeAProbe: a request was stored and its answer lost, and a smaller one is
// refused: nobody knows what is there.
func TestStoredBeforeAProbe(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.openBehind()
	var stored atomic.Bool
	r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
		switch {
		case in.Samples() > 2*probeItems && !stored.Swap(true):
			return &agenttest.Answer{Store: true, Reset: true}
		case in.Samples() <= 2*probeItems && stored.Load():
			return &agenttest.Answer{Status: 400, Body: "received an invalid write request"}
		}
		return away(in)
	})
	r.scrapes(13, 20)
	if l := r.awaitSettled("one"); ledger.Total(l.Refused) > 1 || l.Delivered+ledger.Total(l.Uncertain) < r.accepted("one") {
		t.Errorf("the endpoint holds %d: %+v", r.accepted("one"), l)
	}
}

// TestOverWindow: a batch reaches over the edge of the endpoint's window. What is older
// than the sample that it was asked about by itself does not count as delivered for being
// "already there".
func TestOverWindow(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.queue = strings.Replace(r.queue, "batch_send_deadline: 100ms", "batch_send_deadline: 500ms", 1)
	r.openBehind()
	r.one().Recover()
	r.awaitSettled("one")
	now := time.Now()
	post(t, r.one(), labels.FromStrings("__name__", "other"), now.UnixMilli(), 1)
	for n, at := range []time.Duration{-120, -119, -5, -4, -3, -2} {
		app := r.append.AppenderV2(t.Context())
		for i := range 20 {
			r.add(app, labels.FromStrings("__name__", "w", "i", fmt.Sprint(i)), now.Add(at*time.Minute), float64(n))
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	l := r.awaitSettled("one")
	if held := r.accepted("one") - 1; l.Delivered > held { // one is of other
		t.Errorf("the endpoint holds %d: %+v", held, l)
	}
}
