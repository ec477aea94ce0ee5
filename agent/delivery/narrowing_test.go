package delivery

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// TestNarrowing: whichever series of a batch are refused, each is found, every
// other one is taken, and it takes few requests.
func TestNarrowing(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		series := 1 + rnd.IntN(200)
		bad := map[int]bool{}
		for range rnd.IntN(min(series, 5) + 1) {
			bad[rnd.IntN(series)] = true
		}
		times := make([][]int64, series)
		for i := range times {
			for at := range 1 + rnd.IntN(3) {
				times[i] = append(times[i], int64(at))
			}
		}
		n := newNarrowing(grouped(times...), len(bad) > 0)
		requests, refused, taken := 0, 0, uint64(0)
		for {
			at, more := n.next()
			if !more {
				break
			}
			requests++
			isBad := false
			for i := at.from; i < at.to; i++ {
				isBad = isBad || bad[i]
			}
			switch {
			case !isBad:
				n.taken(at)
				heads, others := n.samples(at)
				taken += heads + others
			case at.one():
				refused++
			default:
				n.halve(at)
			}
		}
		want := uint64(0)
		for i, ts := range times {
			if !bad[i] {
				want += uint64(len(ts))
			}
		}
		if refused != len(bad) || taken != want {
			t.Fatalf("%d of %d found among %d series, %d samples taken of %d", refused, len(bad), series, taken, want)
		}
		if most := 1 + len(bad)*(2+2*bits.Len(uint(series))); requests > most {
			t.Fatalf("%d requests for %d of %d series", requests, len(bad), series)
		}
	}
}

// TestNarrowingOfOne: one series of 512 takes one request for each halving, and one
// for itself.
func TestNarrowingOfOne(t *testing.T) {
	t.Parallel()
	n := newNarrowing(grouped(make([][]int64, 512)...), true)
	if _, more := n.next(); more {
		t.Error("there is something to ask about series without samples")
	}
	times := slices.Repeat([][]int64{{1}}, 512)
	n = newNarrowing(grouped(times...), true)
	requests := 0
	for at, more := n.next(); more; at, more = n.next() {
		requests++
		switch {
		case at.to <= 511:
			n.taken(at)
		case !at.one():
			n.halve(at)
		}
	}
	if requests != 10 {
		t.Errorf("%d requests", requests)
	}
}

// TestHeads: the newest sample of each series is asked about, no exemplar, and of
// several of one time the first.
func TestHeads(t *testing.T) {
	t.Parallel()
	items := grouped([]int64{1, 3, 3, 5}, []int64{7}, []int64{4})
	items[3].Kind, items[5].Kind = remotewrite.Exemplar, remotewrite.Exemplar
	n := newNarrowing(items, false)
	at, _ := n.next()
	heads := n.heads(at)
	if got := spell(heads); !slices.Equal(got, []string{"a3", "b7"}) || n.runs[0].head != 1 {
		t.Errorf("asked about %v, %+v", got, n.runs)
	}
	if heads, others := n.samples(at); heads != 2 || others != 2 {
		t.Errorf("%d and %d", heads, others)
	}
}

// TestNarrowingIsBounded: however many series are refused, a batch takes so many
// requests and no more, and what is left open is uncertain.
func TestNarrowingIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.openBehind()
	r.delivery.all()[0].learnPartial(partialStored)
	r.one().Recover()
	r.awaitSettled("one")
	found := 0
	for range 3 {
		before := r.requests("one")
		r.scrapeMixed(1, 250, 250)
		r.awaitSettled("one")
		// The batch itself, and one sample that is asked about when many are refused.
		if n := r.requests("one") - before; n > mostNarrowing+2 {
			t.Errorf("it took %d requests", n)
		}
		s := r.status("one")
		if s.LeftOut <= found {
			t.Errorf("%d series are left out, after %d", s.LeftOut, found)
		}
		found = s.LeftOut
	}
	if l := r.checkRefused("one", 3*500); ledger.Total(l.Uncertain) == 0 {
		t.Errorf("%+v", l)
	}
}

// TestRefusedForASample: words that are not known to be about a series are found to
// be about one, but tell nothing of its next sample, nor of older ones in the batch.
func TestRefusedForASample(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.openBehind()
	r.delivery.all()[0].learnPartial(partialStored)
	r.one().Recover()
	r.awaitSettled("one")
	r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
		odd := func(ts prompb.TimeSeries) bool {
			return slices.ContainsFunc(ts.Labels, func(l prompb.Label) bool { return l.Value == "odd" })
		}
		n := len(in.Write.Timeseries)
		if in.Write.Timeseries = slices.DeleteFunc(in.Write.Timeseries, odd); len(in.Write.Timeseries) < n {
			return &agenttest.Answer{Status: 400, Body: "invalid native histogram", Store: true}
		}
		return nil
	})
	app := r.append.AppenderV2(t.Context())
	for range 3 {
		at := r.next()
		for i := range 20 {
			r.add(app, labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), at, 1)
		}
		r.add(app, labels.FromStrings("__name__", "odd"), at, 1)
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	l := r.checkRefused("one", 3*20+2)
	if l.Refused["http_400"] != 1 || l.Delivered != 21 || l.Uncertain["http_400"] != 2*20+2 {
		t.Errorf("%+v", l)
	}
	if s := r.status("one"); s.LeftOut > 0 {
		t.Errorf("%d series are left out: %s", s.LeftOut, s.Why)
	}
}

// TestLearnsFromOneScrape: batches with one sample of each series tell as well what
// an endpoint does with the good ones, by what was delivered before.
func TestLearnsFromOneScrape(t *testing.T) {
	t.Parallel()
	for name, manners := range bothManners {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			r.openBehind()
			r.one().Recover()
			r.scrapeMixed(1, 20, 0)
			r.awaitSettled("one")
			want := partialStored
			if manners.AllOrNothing {
				want = partialRolledBack
			}
			r.scrapeMixed(1, 20, 1)
			l := r.checkRefused("one", 0)
			if p := r.delivery.all()[0].partialWrites(); p != want {
				t.Errorf("it is taken for %d", p)
			}
			if l.Refused["http_400"] != 1 {
				t.Errorf("%+v", l)
			}
		})
	}
}
