package remotewrite

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

// shape is how a series of a history behaves.
type shape uint8

const (
	plain    shape = iota // floats
	counting              // floats with start timestamps and exemplars
	native
	nativeFloat
	custom   // buckets, 2.0 only
	changing // from one scrape to the next between floats and histograms
	shapes
)

// history is what a WAL holds of some scrapes, in its order: of each scrape the
// floats, the histograms, the exemplars.
func history(rnd *rand.Rand, v2, typeAndUnit bool, scrapes int) []Item {
	var series []*Series
	var behave []shape
	for i := range 2 * int(shapes) {
		s := shape(i) % shapes
		if s == custom && !v2 {
			continue
		}
		lset := labels.FromStrings("__name__", fmt.Sprintf("series_%d", i), "job", "node", "instance", "127.0.0.1:9100")
		if typeAndUnit {
			lset = labels.FromStrings("__name__", fmt.Sprintf("series_%d", i), "__type__", "gauge", "__unit__", "bytes")
		}
		one := &Series{Labels: lset}
		if i%3 > 0 {
			one.Metadata = &metadata.Metadata{Type: model.MetricTypeCounter, Unit: "seconds", Help: fmt.Sprintf("Helps with %d.", i)}
		}
		series, behave = append(series, one), append(behave, s)
	}
	start := time.Now().Add(-30 * time.Minute).UnixMilli()
	var items []Item
	for n := range scrapes {
		var natives, exemplars []Item
		at := start + int64(n)*15000
		for i, s := range series {
			if rnd.IntN(8) == 0 {
				continue // gone for a scrape
			}
			it := Item{Kind: FloatSample, Series: s, T: at + int64(rnd.IntN(50)), V: rnd.Float64()}
			kind := behave[i]
			if kind == changing {
				kind = []shape{plain, native, nativeFloat}[rnd.IntN(3)]
			}
			stale := rnd.IntN(10) == 0
			switch kind {
			case counting:
				it.ST = start - 1000
				exemplars = append(exemplars, Item{Kind: Exemplar, Series: s, T: it.T, V: it.V, ExemplarLabels: labels.FromStrings("trace_id", fmt.Sprint(n, "-", i))})
			case native:
				it.Kind, it.H, it.ST = HistogramSample, tsdbutil.GenerateTestHistogram(int64(n)), start-2000
			case nativeFloat:
				it.Kind, it.FH = FloatHistogramSample, tsdbutil.GenerateTestFloatHistogram(int64(n))
			case custom:
				it.Kind, it.H = HistogramSample, tsdbutil.GenerateTestCustomBucketsHistogram(int64(n))
			}
			if stale {
				it = Item{Kind: it.Kind, Series: s, T: it.T, V: math.Float64frombits(value.StaleNaN), ST: it.ST}
				switch it.Kind {
				case HistogramSample:
					it.H = &histogram.Histogram{Sum: it.V}
				case FloatHistogramSample:
					it.FH = &histogram.FloatHistogram{Sum: it.V}
				}
			}
			if it.Kind == FloatSample {
				items = append(items, it)
			} else {
				natives = append(natives, it)
			}
			if it.Kind != FloatSample && rnd.IntN(2) == 0 {
				exemplars = append(exemplars, Item{Kind: Exemplar, Series: s, T: it.T, V: 1, ExemplarLabels: labels.FromStrings("trace_id", fmt.Sprint("h", n))})
			}
		}
		items = slices.Concat(items, natives, exemplars)
	}
	return items
}

// TestReceiverHoldsTheSame: after grouped requests a receiver holds what it
// holds after those of upstream's queue, and was told it in the same words.
func TestReceiverHoldsTheSame(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		for _, typeAndUnit := range []bool{false, true} {
			for seed := range uint64(3) {
				t.Run(fmt.Sprintf("2.0=%t,type=%t,%d", v2, typeAndUnit, seed), func(t *testing.T) {
					t.Parallel()
					rnd := rand.New(rand.NewPCG(seed, 1))
					items := history(rnd, v2, typeAndUnit, 40)
					want, got := newReceiver(t, typeAndUnit), newReceiver(t, typeAndUnit)
					enc := NewEncoder(typeAndUnit)
					for rest := items; len(rest) > 0; {
						n := min(len(rest), 1+rnd.IntN(300))
						batch := slices.Clone(rest[:n])
						rest = rest[n:]
						// Prometheus answers 400 to each time series of 2.0 that
						// has exemplars alone, as upstream's queue sends them.
						status, words := want.serve(t, v2, oneSeriesPerItem(t, v2, batch, typeAndUnit))
						if status != 204 && !(v2 && status == 400 && onlyExemplarsRefused(words)) {
							t.Fatalf("upstream's request: %d %s", status, words)
						}
						body, err := enc.Encode(v2, Group(batch))
						if err != nil {
							t.Fatal(err)
						}
						if status, words := got.serve(t, v2, body); status != 204 && !(v2 && status == 400 && onlyExemplarsRefused(words)) {
							t.Fatalf("our request: %d %s", status, words)
						}
					}
					compare(t, items, want, got, v2)
				})
			}
		}
	}
}

func onlyExemplarsRefused(words string) bool {
	for line := range strings.Lines(words) {
		if !strings.HasPrefix(line, "TimeSeries must contain at least one sample or histogram") {
			return false
		}
	}
	return true
}

func compare(t *testing.T, items []Item, want, got *receiver, v2 bool) {
	t.Helper()
	samples := 0
	for _, told := range got.took {
		samples += len(told)
	}
	if samples != int(Samples(items)) {
		t.Errorf("%d of %d samples arrived", samples, Samples(items))
	}
	same(t, "told", got.took, want.took)
	held, wanted := got.held(t), want.held(t)
	exemplars := 0
	for name, all := range held {
		if strings.HasPrefix(name, "exemplars") {
			exemplars += len(all)
			if v2 {
				delete(held, name) // the other has none
			}
		}
	}
	if exemplars == 0 {
		t.Error("no exemplars arrived")
	}
	if v2 && len(want.exemplars(t)) > 0 {
		t.Error("Prometheus takes exemplars alone: then a time series of their own would do")
	}
	same(t, "held", held, wanted)
}

func same(t *testing.T, what string, got, want map[string][]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !slices.Equal(got[name], want[name]) {
			t.Errorf("%s of %s:\n%q\ninstead of\n%q", what, name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d series instead of %d", what, len(got), len(want))
	}
}

// TestTimeSeries: what shares a time series, and what does not.
func TestTimeSeries(t *testing.T) {
	t.Parallel()
	a, b := &Series{Labels: labels.FromStrings("__name__", "a")}, &Series{Labels: labels.FromStrings("__name__", "b")}
	h, fh := tsdbutil.GenerateTestHistogram(1), tsdbutil.GenerateTestFloatHistogram(1)
	items := Group([]Item{
		{Series: a, T: 1}, {Series: b, T: 1}, {Kind: Exemplar, Series: a, T: 1},
		{Series: a, T: 2}, {Kind: HistogramSample, Series: a, T: 3, H: h}, {Kind: FloatHistogramSample, Series: a, T: 4, FH: fh},
		{Series: a, T: 5}, {Kind: Exemplar, Series: a, T: 5}, {Kind: Exemplar, Series: b, T: 5},
	})
	for v2, want := range map[bool][]string{
		false: {"a 2 floats", "a 2 histograms", "a 1 floats", "a 2 exemplars", "b 1 floats", "b 1 exemplars"},
		true:  {"a 2 floats", "a 2 histograms", "a 1 floats 2 exemplars", "b 1 floats 1 exemplars"},
	} {
		body, err := NewEncoder(false).Encode(v2, items)
		if err != nil {
			t.Fatal(err)
		}
		if got := timeSeries(t, v2, body); !slices.Equal(got, want) {
			t.Errorf("2.0 %t: %q instead of %q", v2, got, want)
		}
	}
}

func timeSeries(t *testing.T, v2 bool, body []byte) (out []string) {
	t.Helper()
	show := func(name string, floats, histograms, exemplars int) {
		for _, part := range []struct {
			n    int
			what string
		}{{floats, "floats"}, {histograms, "histograms"}, {exemplars, "exemplars"}} {
			if part.n > 0 {
				name += fmt.Sprintf(" %d %s", part.n, part.what)
			}
		}
		out = append(out, name)
	}
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	if v2 {
		var req writev2.Request
		if err := req.Unmarshal(raw); err != nil {
			t.Fatal(err)
		}
		for _, ts := range req.Timeseries {
			show(req.Symbols[ts.LabelsRefs[1]], len(ts.Samples), len(ts.Histograms), len(ts.Exemplars))
		}
		return out
	}
	var req prompb.WriteRequest
	if err := req.Unmarshal(raw); err != nil {
		t.Fatal(err)
	}
	for _, ts := range req.Timeseries {
		show(ts.Labels[0].Value, len(ts.Samples), len(ts.Histograms), len(ts.Exemplars))
	}
	return out
}

// TestEncodeNothing: both versions take a request without items.
func TestEncodeNothing(t *testing.T) {
	t.Parallel()
	for _, v2 := range []bool{false, true} {
		body, err := NewEncoder(false).Encode(v2, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(body) == 0 {
			t.Errorf("2.0 %t: a body without bytes is not snappy", v2)
		}
		if status, words := newReceiver(t, false).serve(t, v2, body); status != 204 {
			t.Errorf("2.0 %t: %d %s", v2, status, words)
		}
	}
}

// TestBuffersAreReused: a second request needs hardly any memory, and the first
// does not show through.
func TestBuffersAreReused(t *testing.T) {
	items := Group(history(rand.New(rand.NewPCG(1, 1)), false, false, 20))
	floats := slices.DeleteFunc(slices.Clone(items), func(it Item) bool { return it.Kind != FloatSample })
	for _, v2 := range []bool{false, true} {
		enc := NewEncoder(false)
		for _, part := range [][]Item{items, items[len(items)/2:], items[:3], items} {
			body, err := enc.Encode(v2, part)
			if err != nil {
				t.Fatal(err)
			}
			fresh, err := NewEncoder(false).Encode(v2, part)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(body, fresh) {
				t.Fatalf("2.0 %t: %d items are encoded differently the second time", v2, len(part))
			}
		}
		allocated := testing.AllocsPerRun(10, func() {
			if _, err := enc.Encode(v2, floats); err != nil {
				t.Fatal(err)
			}
		})
		if allocated > 10 {
			t.Errorf("2.0 %t: %v allocations for %d samples", v2, allocated, len(floats))
		}
	}
}

// TestBuffersShrink: one unusually large request does not cost memory for ever,
// and requests of varying size do not cost buffers each time.
func TestBuffersShrink(t *testing.T) {
	large := history(rand.New(rand.NewPCG(1, 1)), true, false, 200)
	for _, v2 := range []bool{false, true} {
		enc := NewEncoder(false)
		encode := func(items []Item) {
			if _, err := enc.Encode(v2, items); err != nil {
				t.Fatal(err)
			}
		}
		encode(large)
		peak := cap(enc.message)
		for range patience - 1 {
			encode(large[:10])
		}
		encode(large[:len(large)/2])
		for range patience - 1 {
			encode(large[:10])
		}
		if cap(enc.message) != peak {
			t.Errorf("2.0 %t: buffers of %d bytes in place of %d, though they are needed now and then", v2, cap(enc.message), peak)
		}
		encode(large[:10])
		encode(large[:10])
		if got := cap(enc.message); got > peak/10 {
			t.Errorf("2.0 %t: %d bytes are kept for messages of some hundred", v2, got)
		}
	}
}
