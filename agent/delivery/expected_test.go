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
	x.begin(overlap{items: 3}, position(1))
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

// TestCovers: of what the queue perhaps never sends, nothing tells how far a batch
// reaches, but that all was read.
func TestCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		outstanding, unsure, next int
		whole, want               bool
	}{
		{10, 0, 10, false, true}, {10, 0, 11, true, false}, {10, 0, 11, false, false},
		{10, 1, 10, false, false}, {10, 1, 9, false, true}, {10, 1, 10, true, true}, {10, 10, 1, false, false}, {10, 99, 1, true, true},
	} {
		x := expected{outstanding: c.outstanding, unsure: c.unsure}
		if got := x.covers(c.next, c.whole); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

// TestReach: by what the queue perhaps never sends, it may be further than what it was
// answered for. What it sent must not be taken for what it did not.
func TestReach(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		unsure, answered, next int
		want                   int // segment
	}{
		{0, 0, 5, 1}, {0, 0, 6, 2}, {0, 5, 5, 2}, {0, 7, 0, 2}, {0, 5, 0, 0},
		{5, 0, 5, 2}, {5, 5, 5, 3}, {5, 5, 0, 2}, {2, 5, 4, 3}, {99, 0, 1, 3},
	} {
		var x expected
		for segment := 1; segment <= 3; segment++ {
			e := withSamples(5, 5, segment)
			e.at = e.at.Add(time.Duration(segment) * time.Second) // else they become one
			x.add(e)
		}
		x.unsure = c.unsure
		x.answered(c.answered, "")
		x.done()
		if got := x.reach(c.next); got != position(c.want) && (c.want > 0 || !got.IsZero()) {
			t.Errorf("%+v: %s", c, got)
		}
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

func TestSince(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var x expected
	if got := x.since(now); !got.Equal(now) {
		t.Errorf("of nothing: %v", got)
	}
	for i := range 3 {
		x.add(entry{left: entryItems, at: now.Add(time.Duration(i-3) * time.Hour)})
	}
	x.answered(entryItems, "")
	if got := x.since(now); !got.Equal(now.Add(-2 * time.Hour)) {
		t.Errorf("of what is left: %v", got.Sub(now))
	}
}
