package delivery

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// TestForeignSeries: that somebody else writes one series ahead of us, at a receiver
// that takes all or nothing, costs the samples of that series only.
func TestForeignSeries(t *testing.T) {
	t.Parallel()
	for _, foreign := range []int{0, 5} { // one that is asked about, and another
		t.Run(fmt.Sprint(foreign), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{AllOrNothing: true})
			r.openBehind()
			r.one().Recover()
			post(t, r.one(), labels.FromStrings("__name__", "m", "i", fmt.Sprint(foreign)), time.Now().Add(5*time.Minute).UnixMilli(), 99)
			r.one().Respond(agenttest.Answer{Status: 503})
			before := r.accepted("one")
			r.scrapes(10, 20)
			r.one().Recover()
			l := r.awaitSettled("one")
			stored := r.accepted("one") - before
			// The one that took it behind may have arrived before, or be foreign too.
			if stored < 190 || l.Delivered < stored || l.Delivered > 191 || l.Delivered+l.Refused["out_of_order"] != l.Appended {
				t.Errorf("the endpoint took %d: %+v", stored, l)
			}
			if p := r.delivery.all()[0].partialWrites(); p != partialRolledBack {
				t.Errorf("it is taken for %d", p)
			}
		})
	}
}

// TestForeignNeighbours: nor do eight series next to each other, of 20, tell that the
// good samples of a refused request are stored: all others are delivered.
func TestForeignNeighbours(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.openBehind()
	r.one().Recover()
	for i := 12; i < 20; i++ {
		post(t, r.one(), labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), time.Now().Add(5*time.Minute).UnixMilli(), 99)
	}
	r.one().Respond(agenttest.Answer{Status: 503})
	before := r.accepted("one")
	r.scrapes(10, 20)
	r.one().Recover()
	l := r.awaitSettled("one")
	// The one that took it behind may have arrived before.
	if stored := r.accepted("one") - before; stored < 120 || l.Delivered != 121 || l.Refused["out_of_order"] != 80 {
		t.Errorf("the endpoint took %d: %+v", stored, l)
	}
}

// TestForeignSeriesSentAgain: nor does it prove that what was sent before is there,
// when it is the series that a batch ends with.
func TestForeignSeriesSentAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.options.MinStay = time.Hour
	r.open()
	r.awaitState("one", Live)
	post(t, r.one(), labels.FromStrings("__name__", "m", "i", "19"), time.Now().Add(5*time.Minute).UnixMilli(), 99)
	before := r.accepted("one")
	r.one().Respond(agenttest.Answer{Status: 401, Body: "bad authentication token"})
	r.scrapes(10, 20)
	r.awaitState("one", Behind)
	r.one().Recover()
	l := r.awaitSettled("one")
	if stored := r.accepted("one") - before; stored != 190 || l.Delivered < 190 {
		t.Errorf("the endpoint took %d of 190 good ones: %+v", stored, l)
	}
}

// TestNewerRefusedForWhatItIs: that an older sample is taken tells nothing when the
// newer one is refused in any case.
func TestNewerRefusedForWhatItIs(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.openBehind()
	at := r.next()
	for _, at := range []time.Time{at, at.Add(time.Hour)} {
		app := r.append.AppenderV2(t.Context())
		r.add(app, labels.FromStrings("__name__", "ahead"), at, 1)
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	r.one().Recover()
	l := r.awaitSettled("one")
	if l.Delivered != r.accepted("one") || l.Delivered != 2 || ledger.Total(l.Refused) != 1 {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
	if p := r.delivery.all()[0].partialWrites(); p != partialUnknown {
		t.Errorf("it is taken for %d", p)
	}
}

// TestWhereItEnds: after a kill, what may have been sent is sent again, and the endpoint
// has the first of it. Where that ends is found out by some requests, not by one for each
// sample: the endpoint may be far away.
func TestWhereItEnds(t *testing.T) {
	t.Parallel()
	for receiver, manners := range receivers {
		for _, c := range []struct{ series, stored, left int }{
			{500, 11, 3}, // five scrapes in a request
			{500, 12, 3},
			{500, 13, 3},
			{100, 60, 10},
			{4000, 4, 0}, // two requests for a scrape
			{4000, 3, 2},
		} {
			t.Run(fmt.Sprintf("%s, %d×%d and %d", receiver, c.series, c.stored, c.left), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, manners)
				r.options.SaveInterval = time.Hour
				r.open()
				r.awaitState("one", Live)
				r.scrapes(c.stored, c.series)
				r.awaitSettled("one")
				r.one().Respond(agenttest.Answer{Status: 503})
				r.scrapes(c.left, c.series)
				asked := len(r.one().Snapshot().Requests)
				r.crash()
				r.pass()
				r.one().Recover()
				r.open()
				l := r.awaitSettled("one")
				if l.Delivered != l.Appended || int(l.Delivered) != c.series*(c.stored+c.left) {
					t.Errorf("%+v", l)
				}
				whole := 0
				for _, s := range r.one().Snapshot().Series() {
					if s.Count == c.stored+c.left {
						whole++
					}
				}
				if whole != c.series {
					t.Errorf("%d of %d series are whole", whole, c.series)
				}
				if n := len(r.one().Snapshot().Requests) - asked; n > 400 {
					t.Errorf("%d requests", n)
				}
			})
		}
	}
}

// TestForeignSeriesAfterAKill: that somebody else writes ahead of us in the series that a
// scrape ends with is no proof that the scrape is there, however few series it has.
func TestForeignSeriesAfterAKill(t *testing.T) {
	t.Parallel()
	for receiver, manners := range allOrNothing {
		t.Run(receiver, func(t *testing.T) {
			t.Parallel()
			for _, c := range []struct {
				n    int
				save time.Duration
			}{{2, 0}, {3, 0}, {7, 0}, {20, 0}, {100, 0}, {2, time.Hour}, {3, time.Hour}, {7, time.Hour}, {20, time.Hour}, {100, time.Hour}} {
				t.Run(fmt.Sprint(c), func(t *testing.T) {
					t.Parallel()
					n := c.n
					r := newRig(t, manners)
					r.options.SaveInterval = c.save // how much is sent again
					r.open()
					r.awaitState("one", Live)
					r.scrapes(3, n)
					r.awaitSettled("one")
					r.one().Respond(agenttest.Answer{Status: 503})
					r.scrapes(1, n)
					r.crash()
					r.pass()
					r.one().Recover()
					post(t, r.one(), labels.FromStrings("__name__", "m", "i", fmt.Sprint(n-1)), time.Now().Add(5*time.Minute).UnixMilli(), 99)
					r.open()
					l := r.awaitSettled("one")
					whole := 0
					for _, s := range r.one().Snapshot().Series() {
						if s.Count >= 4 {
							whole++
						}
					}
					// The last has three of ours and the foreign one; or all of ours, where the endpoint
					// comes to a request of the killed run late.
					held := r.accepted("one") - 1
					if whole != n || l.Delivered+ledger.Total(l.Refused)+ledger.Total(l.Uncertain) != l.Appended || l.Delivered < l.Appended-1 || l.Delivered > held+1 {
						t.Errorf("%d of %d series are whole, %d samples are held: %+v", whole, n, held, l)
					}
				})
			}
		})
	}
}

func TestSplitOrder(t *testing.T) {
	t.Parallel()
	items := grouped([]int64{1, 3}, []int64{1, 2, 3}, []int64{-9}) // a, b, and c, dated back
	for i, order := range []uint32{0, 4, 1, 3, 5, 2} {
		items[i].Order = order
	}
	if at, want := splitOrder(items, math.MaxUint32), []string{"a1", "b1", "c-9", "a3", "b2", "b3"}; at != 3 || !slices.Equal(spell(items), want) {
		t.Errorf("cut at %d: %v, expected %v", at, spell(items), want)
	}
	if at, want := splitOrder(items, 2), []string{"a1", "b1", "c-9"}; at != 2 || !slices.Equal(spell(items[:3]), want) {
		t.Errorf("cut at %d: %v, expected %v", at, spell(items), want)
	}
	splitOrder(items, math.MaxUint32)
	if last := lastInOrder(items[:3], math.MaxInt64); last.T != -9 {
		t.Errorf("the last is of %d", last.T)
	}
	if last := lastInOrder(items[3:], math.MaxInt64); last.T != 3 || last.Order != 5 {
		t.Errorf("the last is of %d, in place %d", last.T, last.Order)
	}
}

func TestSingleFrom(t *testing.T) {
	t.Parallel()
	items := grouped([]int64{3}, []int64{1, 2}, []int64{2}, []int64{9}, []int64{2}) // a3 b1 b2 c2 d9 e2
	for at, want := range map[int]int{0: 0, 1: 3, 2: 3, 3: 3, 4: 5, 5: 5, 6: 6} {
		if got := singleFrom(items, at, 3); got != want {
			t.Errorf("from %d on it is %d, expected %d", at, got, want)
		}
	}
	if got := singleFrom(items, 0, 1); got != len(items) {
		t.Errorf("it is %d, where all are newer", got)
	}
}

func TestOtherRun(t *testing.T) {
	t.Parallel()
	items := grouped([]int64{1, 3}, []int64{1, 2, 3, 4}, []int64{2, 4}, []int64{4, 9}, []int64{1, 4})
	for _, c := range []struct {
		last string
		want []string
	}{
		{"e4", []string{"c2", "c4"}}, // not a, which ends before; d has one only
		{"c4", []string{"e1", "e4"}},
		{"a3", []string{"b1", "b2", "b3"}},
		{"b2", nil},
	} {
		last := items[slices.Index(spell(items), c.last)]
		from, to := otherRun(items, last)
		if got := spell(items[from:to]); !slices.Equal(got, c.want) {
			t.Errorf("beside %s: %v, expected %v", c.last, got, c.want)
		}
	}
	// Those that are asked about one after the other come from all over a batch.
	var times [][]int64
	for range 16 {
		times = append(times, []int64{1, 2})
	}
	items = grouped(times...)
	p := part{items: items, last: items[1]}
	var tried []*remotewrite.Series
	var names []string
	for from, to := 0, 2; len(tried) < mostTried; from, to = nextRun(&p, tried) {
		tried = append(tried, items[from].Series)
		names = append(names, spell(items[to-1:to])...)
	}
	if want := []string{"a2", "c2", "e2", "g2", "i2", "k2", "m2", "o2"}; !slices.Equal(names, want) {
		t.Errorf("asked about %v, expected %v", names, want)
	}
	if from, to := nextRun(&part{items: items[:2], last: items[1]}, tried[:1]); from != to {
		t.Errorf("beside the only one: %d to %d", from, to)
	}
}

func TestNewerIn(t *testing.T) {
	t.Parallel()
	items := grouped([]int64{1, 3}, []int64{5}, []int64{9}, []int64{2})
	items[3].Kind = remotewrite.Exemplar
	old := func(i int, at int64) remotewrite.Item { return remotewrite.Item{Series: items[i].Series, T: at} }
	delivered := []remotewrite.Item{old(0, 2), old(2, 5), old(3, 8), old(4, 1)}
	if got := spell(newerIn(items, delivered, 9)); !slices.Equal(got, []string{"a2", "d1"}) {
		t.Error(got)
	}
	if got := spell(newerIn(items, delivered, 1)); !slices.Equal(got, []string{"a2"}) {
		t.Error(got)
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	if got := spread([]int{1, 2, 3}, 3); !slices.Equal(got, []int{1, 2, 3}) {
		t.Error(got)
	}
	if got := spread([]int{0, 2, 4, 6, 8, 10, 12}, 3); !slices.Equal(got, []int{0, 4, 8}) {
		t.Error(got)
	}
}

func TestNewerOf(t *testing.T) {
	t.Parallel()
	items := grouped([]int64{1, 1, 2}, []int64{3, 4})
	for i, want := range map[int]string{0: "a2", 1: "a2", 3: "b4"} {
		if got := spell([]remotewrite.Item{items[newerOf(items, i)]}); got[0] != want {
			t.Errorf("%d: %v, expected %s", i, got, want)
		}
	}
}
