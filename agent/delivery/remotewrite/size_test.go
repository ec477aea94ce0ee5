package remotewrite

import (
	"math/rand/v2"
	"testing"

	"github.com/golang/snappy"
)

func newRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// TestSize: the estimate is within a tenth of the message of 1.0, and not less
// than that of 2.0, whose metadata do not count, for floats and for all kinds.
func TestSize(t *testing.T) {
	t.Parallel()
	for _, v2 := range []bool{false, true} {
		all := history(newRand(), v2, false, 100)
		var plain []Item
		for _, it := range all {
			if it.Kind == FloatSample && it.ST == 0 {
				plain = append(plain, it)
			}
		}
		for name, items := range map[string][]Item{"all": all, "floats": plain, "one": plain[:1]} {
			var s Size
			var got int
			for from := 0; from < len(items); from += 37 {
				got = s.Add(items[from:min(len(items), from+37)])
			}
			if got != s.Bytes() {
				t.Errorf("Add says %d, Bytes %d", got, s.Bytes())
			}
			body, err := NewEncoder(false).Encode(v2, Group(append([]Item(nil), items...)))
			if err != nil {
				t.Fatal(err)
			}
			want, err := snappy.DecodedLen(body)
			if err != nil {
				t.Fatal(err)
			}
			if !(v2 && len(items) == 1) && got < want*9/10 || !v2 && got > want*11/10 {
				t.Errorf("2.0 %t, %s: %d bytes, estimated %d", v2, name, want, got)
			}
			s.Reset()
			if again := s.Add(items); again != got || (&Size{}).Bytes() != 0 {
				t.Errorf("after Reset %d instead of %d", again, got)
			}
		}
	}
}

// TestSizeIsCheap: no allocation for a sample, and none kept for a batch of
// unusually many series.
func TestSizeIsCheap(t *testing.T) {
	items := history(newRand(), true, false, 100)
	var s Size
	s.Add(items)
	if n := testing.AllocsPerRun(10, func() { s.Reset(); s.Add(items) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	many := make([]Item, keptSeries+1)
	for i := range many {
		many[i].Series = &Series{}
	}
	s.Add(many)
	s.Reset()
	if s.seen != nil {
		t.Error("the room for many series is kept")
	}
}

func BenchmarkSize(b *testing.B) {
	items := history(newRand(), true, false, 100)
	var s Size
	b.ReportAllocs()
	for b.Loop() {
		s.Reset()
		s.Add(items)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(items)), "ns/item")
}
