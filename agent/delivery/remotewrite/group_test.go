package remotewrite

import (
	"fmt"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// scatter makes items of bytes: a series, a kind and a time each. Values number
// the items. Of the series some share their labels.
func scatter(data []byte) []Item {
	series := make([]*Series, 8)
	for i := range series {
		series[i] = &Series{Labels: labels.FromStrings("__name__", fmt.Sprint("m", i%6))}
	}
	items := make([]Item, len(data))
	for i, b := range data {
		items[i] = Item{Series: series[b%8], Kind: []ItemKind{FloatSample, HistogramSample, Exemplar, FloatSample}[b>>3&3], T: int64(b >> 5), V: float64(i)}
	}
	return items
}

func FuzzGroup(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1})
	f.Add([]byte("the quick brown fox jumps over the lazy dog"))
	f.Add([]byte{0, 6, 32, 38, 16, 22, 224, 0, 7, 255, 3, 8, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		items := scatter(data)
		var order []string // of series, by their first items
		for _, it := range items {
			if name := it.Series.Labels.String(); !slices.Contains(order, name) {
				order = append(order, name)
			}
		}
		got := Group(slices.Clone(items))
		rank := func(it Item) int {
			r := 2 * slices.Index(order, it.Series.Labels.String())
			if it.Kind == Exemplar {
				r++
			}
			return r
		}
		seen := make([]bool, len(items))
		for i, it := range got {
			if n := int(it.V); seen[n] || it != items[n] {
				t.Fatalf("item %d is not one of those that were given", n)
			} else {
				seen[n] = true
			}
			if i == 0 {
				continue
			}
			last := got[i-1]
			switch a, b := rank(last), rank(it); {
			case a > b:
				t.Fatalf("%v comes after %v", it, last)
			case a == b && last.T > it.T:
				t.Fatalf("a series goes back from %d to %d", last.T, it.T)
			case a == b && last.T == it.T && last.V > it.V:
				t.Fatalf("items %v and %v of one time have changed places", last.V, it.V)
			}
		}
	})
}

func BenchmarkGroup(b *testing.B) {
	items := history(newRand(), false, false, 1000)
	scattered := make([]Item, len(items))
	b.ReportAllocs()
	for b.Loop() {
		copy(scattered, items)
		Group(scattered)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(items)), "ns/item")
}
