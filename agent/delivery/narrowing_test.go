package delivery

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

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
