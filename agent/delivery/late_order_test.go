package delivery

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// beside appends n scrapes of series of the name m, which a live queue sends, and of late
// ones, which it does not.
func (r *rig) beside(n, series int, late ...string) {
	r.t.Helper()
	for range n {
		at := r.next()
		app := r.append.AppenderV2(r.t.Context())
		for i := range series {
			r.add(app, labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), at, 1)
		}
		for _, name := range late {
			r.add(app, labels.FromStrings("__name__", name), at.Add(-time.Minute), 1)
		}
		if err := app.Commit(); err != nil {
			r.t.Fatal(err)
		}
	}
	r.delivery.Notify()
}

// numbered returns n names that begin with a word.
func numbered(word string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint(word, i)
	}
	return names
}

func (r *rig) awaitAccepted(n uint64) {
	r.t.Helper()
	r.eventually(fmt.Sprint(n, " to be stored"), func() error {
		r.delivery.Notify()
		if got := r.accepted("one"); got < n {
			return fmt.Errorf("%d are", got)
		}
		return nil
	})
}

// TestLateIsSentAgain: how much of what a live queue sent is there after a kill takes few
// questions to find, also where late samples were sent beside it.
func TestLateIsSentAgain(t *testing.T) {
	t.Parallel()
	for name, allOrNothing := range map[string]bool{"all or nothing": true, "stores partial writes": false} {
		for _, late := range []int{0, 1, 100} {
			t.Run(fmt.Sprintf("%s, %d late", name, late), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, agenttest.Manners{AllOrNothing: allOrNothing})
				r.options.SaveInterval = time.Hour
				r.open()
				r.awaitState("one", Live)
				const n, series = 10, 100
				r.beside(n, series, numbered("late", late)...)
				all := uint64(n * (series + late))
				r.awaitAccepted(all)
				if at := r.delivery.all()[0].account.Unordered(); !at.IsZero() {
					t.Errorf("all is unordered up to %s", at)
				}
				asked := len(r.one().Snapshot().Requests)
				r.crash()
				r.pass()
				r.open()
				if l := r.awaitSettled("one"); l.Delivered != all {
					t.Errorf("%d are there, %+v", all, l)
				}
				if asked = len(r.one().Snapshot().Requests) - asked; asked >= 100 {
					t.Errorf("%d requests for %d samples", asked, all)
				}
			})
		}
	}
}

// TestEndsWithLateOnes: late samples are there, and some of what the queue was to send
// before them, when a run ends.
func TestEndsWithLateOnes(t *testing.T) {
	t.Parallel()
	for ending, end := range endings {
		t.Run(ending, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{AllOrNothing: true})
			r.options.SaveInterval = time.Hour
			r.open()
			r.awaitState("one", Live)
			const n, series = 10, 100
			r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
				if in.Samples() == 1 {
					return nil
				}
				return &agenttest.Answer{Status: 503, Store: true}
			})
			r.beside(n, series, "late")
			r.awaitAccepted(n + series)
			r.pass()
			asked := len(r.one().Snapshot().Requests)
			end(r)
			const all = n * (series + 1)
			if l := r.awaitSettled("one"); l.Delivered != all || r.accepted("one") < all {
				t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
			}
			whole := 0
			for _, s := range r.one().Snapshot().Series() {
				if s.Count >= n {
					whole++
				}
			}
			if whole != series+1 {
				t.Errorf("%d series are whole", whole)
			}
			if asked = len(r.one().Snapshot().Requests) - asked; asked >= 100 {
				t.Errorf("%d requests", asked)
			}
		})
	}
}

// TestLateRefused: late samples that were refused are not taken for delivered after a
// kill, because those behind them are there.
func TestLateRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.options.SaveInterval = time.Hour
	r.open()
	r.awaitState("one", Live)
	const late, series = 40, 60
	var refused atomic.Int64
	r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
		if in.Samples() == late && refused.Add(1) <= 2 {
			return &agenttest.Answer{Status: 400, Body: "not now"}
		}
		return nil
	})
	r.beside(2, series, numbered("a", late)...)
	r.awaitAccepted(2 * series)
	r.beside(2, series, numbered("b", late)...)
	r.awaitAccepted(4*series + 2*late)
	r.crash()
	r.pass()
	r.one().Recover()
	r.open()
	// What is older than the newest need not be known to be there.
	if l := r.awaitSettled("one"); r.accepted("one") != 4*(series+late) || l.Delivered < 2*late || l.Delivered+ledger.Total(l.Uncertain) != l.Appended {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
	for _, s := range r.one().Snapshot().Series() {
		if name := s.Labels.Get("__name__"); strings.HasPrefix(name, "a") && s.Count < 2 {
			t.Errorf("%s has %d samples", name, s.Count)
		}
	}
}

// TestLateRefusedBeforeNewer: nor are they because newer ones of their series are.
func TestLateRefusedBeforeNewer(t *testing.T) {
	t.Parallel()
	for receiver, manners := range allOrNothing {
		t.Run(receiver, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			r.options.SaveInterval = time.Hour
			r.open()
			r.awaitState("one", Live)
			const late, series = 40, 60
			var refused atomic.Bool
			r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
				if in.Samples() == late && refused.CompareAndSwap(false, true) {
					return &agenttest.Answer{Status: 400, Body: "not now"}
				}
				return nil
			})
			r.beside(3, series, numbered("a", late)...)
			r.awaitAccepted(3*series + 2*late)
			r.crash()
			r.pass()
			r.open()
			if l := r.awaitSettled("one"); l.Delivered > r.accepted("one") || l.Delivered+ledger.Total(l.Uncertain) != l.Appended {
				t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
			}
		})
	}
}

// TestLateIsWrittenBefore: no late sample is sent beside the queue before delivery.json
// says that it may be.
func TestLateIsWrittenBefore(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.options.SaveInterval = time.Hour
	r.open()
	r.awaitState("one", Live)
	var early atomic.Bool
	var times atomic.Int64
	r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
		if saved, err := ledger.Load(r.dir); in.Samples() == 1 && (err != nil || saved.Destinations["one"].Late.Before.IsZero()) {
			early.Store(true)
		}
		if in.Samples() == 1 {
			times.Add(1)
		}
		return nil
	})
	r.beside(3, 20, "late")
	r.awaitAccepted(3 * 21)
	if early.Load() || times.Load() == 0 {
		t.Errorf("late ones were sent before it was written, or never: %d", times.Load())
	}
}

// TestOldestFirst: where nothing is known of the order in which series were sent, the
// samples of one still came in theirs, and none is asked about twice.
func TestOldestFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.options.SaveInterval = time.Hour
	r.open()
	r.awaitState("one", Live)
	d := r.delivery.all()[0]
	if err := d.leaveOrder(t.Context(), r.backlog.End()); err != nil {
		t.Fatal(err)
	}
	const n = 60
	r.scrapes(n, 1)
	r.awaitAccepted(n)
	asked := len(r.one().Snapshot().Requests)
	r.crash()
	r.pass()
	r.open()
	if l := r.awaitSettled("one"); l.Delivered != n {
		t.Errorf("%d are there, %+v", n, l)
	}
	if asked = len(r.one().Snapshot().Requests) - asked; asked < n || asked > n+5 {
		t.Errorf("%d requests for %d samples", asked, n)
	}
}

// TestApart: what is late goes first, with the exemplars of its series, and is unordered
// only if it was said to be.
func TestApart(t *testing.T) {
	t.Parallel()
	items := grouped([]int64{1, 5, 6, 2}, []int64{1, 6}, []int64{5, 2}, []int64{2, 6})
	for i := range items {
		items[i].Order = uint32(i)
	}
	for _, i := range []int{2, 3, 5, 7, 8, 9} { // a6, a2, b6, c2, d2, d6
		items[i].Kind = remotewrite.Exemplar
	}
	for _, unordered := range []bool{false, true} {
		parts := part{items: slices.Clone(items), resent: true}.apart(ledger.Late{UpTo: 4, Unordered: unordered})
		var got [][]string
		for i, p := range parts {
			got = append(got, spell(p.items))
			if !p.resent || p.late != (i == 0) || p.unordered != (unordered && i == 0) {
				t.Errorf("part %d: %+v", i, p)
			}
		}
		want := [][]string{{"a1", "a2", "b1", "b6", "d2"}, {"a5", "a6", "c5", "c2", "d6"}}
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%v, expected %v", got, want)
		}
	}
	if parts := (part{items: items}).apart(ledger.Late{}); len(parts) != 1 || parts[0].late {
		t.Errorf("without late ones: %+v", parts)
	}
}
