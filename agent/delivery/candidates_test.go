package delivery

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// TestCandidates: those are chosen that begin where what is read begins, and whose samples are
// floats that come often, one after the other; however many there are that come once.
func TestCandidates(t *testing.T) {
	t.Parallel()
	c := newCandidates()
	const second = int64(1000)
	names := map[uint64]string{}
	see := func(at int64, kind remotewrite.ItemKind, of ...string) (enough bool) {
		for _, name := range of {
			hash := labels.StableHash(labels.FromStrings("__name__", name))
			names[hash] = name
			enough = c.see(hash, remotewrite.Item{T: 1000*second + at, Kind: kind}, false) || enough
		}
		return enough
	}
	see(10*second, remotewrite.FloatSample, "a", "b", "back", "seldom")
	c.recordEnds()
	see(-1001*second, remotewrite.FloatSample, "before 1970")
	see(-500*second, remotewrite.FloatSample, "dated back")
	see(10*second, remotewrite.HistogramSample, "histogram")
	see(70*second, remotewrite.FloatSample, "a", "b", "c")
	see(9*second, remotewrite.FloatSample, "back")
	see(131*second, remotewrite.FloatSample, "late")
	for i := range 1000 {
		see(140*second, remotewrite.FloatSample, fmt.Sprint("once ", i))
		see(141*second, remotewrite.FloatSample, fmt.Sprint("a gap ", i%10))
	}
	if see(189*second, remotewrite.FloatSample, "a", "b", "late", "c") {
		t.Error("three minutes have not passed")
	}
	if !see(190*second, remotewrite.FloatSample, "a") {
		t.Error("three minutes have passed")
	}
	chosen := c.choose()
	if !slices.IsSortedFunc(chosen, func(a, b *witness) int { return cmp.Compare(a.hash, b.hash) }) {
		t.Error("they are in no order")
	}
	var got []string
	for _, w := range chosen {
		got = append(got, names[w.hash])
	}
	if slices.Sort(got); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("chosen: %q", got)
	}
	// After five hours without a scrape, the old series have a gap, and the new ones begin late.
	c = newCandidates()
	see(second, remotewrite.FloatSample, "a", "b", "c", "d")
	c.recordEnds()
	for at := 5 * 3600 * second; at < 5*3600*second+180*second; at += 15 * second {
		see(at, remotewrite.FloatSample, "a", "b", "c", "d", "new 1", "new 2", "new 3", "new 4")
	}
	if got := c.choose(); len(got) != 0 {
		t.Errorf("%d are chosen that lead away from what is older", len(got))
	}
	c = newCandidates()
	if see(second, remotewrite.FloatSample, "a", "b"); len(c.choose()) != 0 {
		t.Error("some are chosen of too few")
	}
	for i := range 100 {
		see(second, remotewrite.FloatSample, fmt.Sprint(i))
	}
	if got := c.choose(); len(got) != mostWitnesses {
		t.Errorf("%d are chosen", len(got))
	}
	c.read = mostRead - 1
	if !see(second, remotewrite.FloatSample, "last") {
		t.Error("it reads on for ever")
	}
}

// TestWitness: what a witness keeps, and when it has no more to tell.
func TestWitness(t *testing.T) {
	t.Parallel()
	of := func(at int64) sighting {
		return sighting{remotewrite.Item{Series: &remotewrite.Series{}, T: at}, backlog.Position{}}
	}
	gap := &witness{}
	for _, at := range []int64{1, 1 + mostApart.Milliseconds(), 2 + 2*mostApart.Milliseconds()} {
		if gap.unfit {
			t.Error("it has no gap")
		}
		gap.see(of(at), false)
	}
	if !gap.unfit {
		t.Error("it has a gap")
	}
	w := &witness{caught: true}
	if w.ended(math.MaxInt64) {
		t.Error("it has ended before it was seen")
	}
	for i := range int64(10) {
		w.see(of(i+1), false)
	}
	for _, s := range w.seen {
		if s.Series != w.series {
			t.Error("a request would name the series twice")
		}
	}
	if len(w.seen) != toTell || w.unfit || w.ended(mostApart.Milliseconds()*2) {
		t.Errorf("%d are kept", len(w.seen))
	}
	w.seen = w.seen[1:]
	if w.ended(mostApart.Milliseconds()) || !w.ended(mostApart.Milliseconds()*2) {
		t.Error("it has ended")
	}

	w.hash, w.upTo = 7, 5
	if got := witnessed([]*witness{w, {hash: 8}}); !maps.Equal(got, map[uint64]period{7: {1, 5}}) {
		t.Errorf("witnessed: %v", got)
	}
	w.giveUp()
	w.see(of(5), false) // was not sent
	if got := witnessed([]*witness{w}); len(got) != 0 {
		t.Errorf("witnessed, with one that is dated back: %v", got)
	}
}
