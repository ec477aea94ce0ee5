package delivery

import (
	"slices"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

func TestExpected(t *testing.T) {
	t.Parallel()
	var x expected
	x.begin(3, position(1))
	if !slices.Equal(ends(x.done()), nil) || x.outstanding != 3 || !againIs(&x, 3, 3, true) || !againIs(&x, 5, 3, false) {
		t.Fatalf("after the begin: %+v", x)
	}
	x.add(withSamples(10, 10, 2))
	x.add(withSamples(5, 4, 3)) // an item more than samples: an exemplar
	x.answered(2, "")
	if !againIs(&x, 10, 1, false) || x.outstanding != 16 {
		t.Fatalf("after two of those that are sent again: %+v", x)
	}
	x.answered(1+8, "")
	done := x.done()
	if len(done) > 1 || len(done) == 1 && done[0].end != position(1) {
		t.Fatalf("done too early: %+v", done)
	}
	x.answered(2, "out_of_order")
	x.answered(5, "http_400")
	done = append(done, x.done()...)
	var o = done[0].outcome
	for _, e := range done[1:] {
		o.Merge(e.outcome)
	}
	if !x.empty() || x.outstanding != 0 || x.age() != 0 {
		t.Fatalf("not empty: %+v", x)
	}
	if o.Total() != 14 {
		t.Errorf("14 samples became %+v", o)
	}
	if last := done[len(done)-1].end; last != position(3) {
		t.Errorf("it ends at %s", last)
	}
}

func position(segment int) backlog.Position { return backlog.Position{Generation: 1, Segment: segment} }

func withSamples(items int, samples uint64, segment int) entry {
	return entry{left: items, end: position(segment), outcome: ledger.Outcome{Delivered: samples}, at: time.Now()}
}

func ends(entries []entry) (out []backlog.Position) {
	for _, e := range entries {
		out = append(out, e.end)
	}
	return out
}

func againIs(x *expected, n, again int, only bool) bool {
	a, o := x.againIn(n)
	return a == again && o == only
}
