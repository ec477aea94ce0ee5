package delivery

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// TestCandidates: of many series some are looked at, and those are chosen that begin where all
// begin, and whose samples are floats that come often, one after the other.
func TestCandidates(t *testing.T) {
	t.Parallel()
	c := newCandidates()
	const second = int64(1000)
	hashes := map[string]uint64{}
	see := func(at int64, kind remotewrite.ItemKind, names ...string) (enough bool) {
		for _, name := range names {
			s := &remotewrite.Series{Labels: labels.FromStrings("__name__", name)}
			hashes[name] = labels.StableHash(s.Labels)
			enough = c.see(hashes[name], sighting{remotewrite.Item{Series: s, T: 1000*second + at, Kind: kind}, backlog.Position{}}) || enough
		}
		return enough
	}
	see(10*second, remotewrite.FloatSample, "a", "b", "back", "seldom")
	see(-1001*second, remotewrite.FloatSample, "before 1970")
	see(-500*second, remotewrite.FloatSample, "dated back")
	see(10*second, remotewrite.HistogramSample, "histogram")
	see(70*second, remotewrite.FloatSample, "a", "b", "c")
	see(9*second, remotewrite.FloatSample, "back")
	see(131*second, remotewrite.FloatSample, "late")
	if see(189*second, remotewrite.FloatSample, "a", "b", "late", "c") {
		t.Error("three minutes have not passed")
	}
	if !see(190*second, remotewrite.FloatSample, "a") {
		t.Error("three minutes have passed")
	}
	var got []string
	for _, w := range c.choose() {
		got = append(got, w.series.Labels.Get("__name__"))
		for _, s := range w.seen {
			if s.Series != w.series {
				t.Error("a request would name the series twice")
			}
		}
	}
	if !slices.IsSortedFunc(got, func(a, b string) int { return cmp.Compare(hashes[a], hashes[b]) }) || len(c.byHash) != 3 {
		t.Errorf("chosen: %q, kept %d", got, len(c.byHash))
	}
	if slices.Sort(got); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("chosen: %q", got)
	}
	if got := c.choose(); len(got) != 0 {
		t.Errorf("%d are chosen of too few", len(got))
	}
	gap := &witness{series: &remotewrite.Series{}}
	for _, at := range []int64{1, 1 + mostApart.Milliseconds(), 2 + 2*mostApart.Milliseconds()} {
		if gap.unfit {
			t.Error("it has no gap")
		}
		gap.see(sighting{remotewrite.Item{T: at}, backlog.Position{}})
	}
	if !gap.unfit {
		t.Error("it has a gap")
	}
	w := &witness{series: &remotewrite.Series{}, caught: true}
	for i := range int64(10) {
		w.see(sighting{remotewrite.Item{T: i + 1}, backlog.Position{}})
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
	w.see(sighting{remotewrite.Item{T: 5}, backlog.Position{}}) // was not sent
	if got := witnessed([]*witness{w}); len(got) != 0 {
		t.Errorf("witnessed, with one that is dated back: %v", got)
	}

	c = newCandidates()
	var all []uint64
	for i := range 10 * mostCandidates {
		see(second, remotewrite.FloatSample, fmt.Sprint(i))
		all = append(all, hashes[fmt.Sprint(i)])
	}
	slices.Sort(all)
	if kept := slices.Sorted(maps.Keys(c.byHash)); !slices.Equal(kept, all[:mostCandidates]) {
		t.Errorf("%d are kept", len(kept))
	}
	if got := c.choose(); len(got) != mostWitnesses {
		t.Errorf("%d are chosen", len(got))
	}
	c.read = mostRead - 1
	if !see(second, remotewrite.FloatSample, "last") {
		t.Error("it reads on for ever")
	}
}
