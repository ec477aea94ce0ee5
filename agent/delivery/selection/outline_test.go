package selection

import (
	"fmt"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// compare reads a record with both, and fails when the outline tells of other items than
// there are.
func compare(t *testing.T, s *Selector, o *Outline, data []byte) {
	t.Helper()
	errS, errO := s.Read(recordOf(data)), o.Read(recordOf(data))
	if fmt.Sprint(errS) != fmt.Sprint(errO) {
		t.Errorf("record of type %d: %v, the outline says %v", data[0], errS, errO)
	}
	var times []int64
	exemplars := 0
	for _, it := range s.Items {
		if it.Kind == remotewrite.Exemplar {
			exemplars++
		} else {
			times = append(times, it.T)
		}
	}
	if fmt.Sprint(times) != fmt.Sprint(o.Times) || exemplars != o.Exemplars {
		t.Errorf("record of type %d: samples of %v and %d exemplars, the outline says %v and %d", data[0], times, exemplars, o.Times, o.Exemplars)
	}
	if s.Newest() != o.Newest() {
		t.Errorf("record of type %d: the newest is of %d, the outline says %d", data[0], s.Newest(), o.Newest())
	}
	if s.Unknown != o.Unknown || s.Samples() != o.Samples() || fmt.Sprint(s.Filtered()) != fmt.Sprint(o.Filtered()) {
		t.Errorf("record of type %d: %d samples, %d unknown, filtered %v; the outline says %d, %d, %v", data[0],
			s.Samples(), s.Unknown, s.Filtered(), o.Samples(), o.Unknown, o.Filtered())
	}
}

// TestOutline: an outline tells of each kind of record what a selector makes of it,
// whatever the destination takes, of series that it has got from a selector and of
// those that it has read.
func TestOutline(t *testing.T) {
	t.Parallel()
	var enc record.Encoder
	again := enc.Series([]record.RefSeries{ // other series, after a hole in the WAL
		{Ref: 1, Labels: labels.FromStrings("__name__", "dropped")},
		{Ref: 3, Labels: labels.FromStrings("__name__", "kept")},
		{Ref: 4, Labels: labels.FromStrings("__name__", "kept", "n", "4")},
	}, nil)
	for _, kinds := range []string{"", allKinds, "    send_native_histograms: true\n", "    send_exemplars: true\n"} {
		for _, version := range []string{"", protobuf2} {
			for _, rules := range []string{"", dropDropped} {
				s := newTestSelector(t, kinds+version+rules)
				reading := s.Outline()
				compare(t, s, reading, walRecords()[4]) // all unknown
				read(t, s, seriesRecord())
				given := s.Outline()
				for _, data := range walRecords() {
					compare(t, s, reading, data)
					compare(t, s, given, data)
					compare(t, s, given, data[:len(data)-3])
				}
				for _, data := range append([][]byte{again}, walRecords()[1:]...) {
					compare(t, s, reading, data)
				}
				s.Forget()
				reading.Forget()
				for _, data := range walRecords()[1:] {
					compare(t, s, reading, data)
				}
			}
		}
	}
}

// TestOutlineOfFarReferences: references may lie anywhere, and cost memory only where
// series are.
func TestOutlineOfFarReferences(t *testing.T) {
	t.Parallel()
	var enc record.Encoder
	s := newTestSelector(t, dropDropped)
	o := s.Outline()
	var series []record.RefSeries
	var samples []record.RefSample
	for i, ref := range []chunks.HeadSeriesRef{0, 63, 64, pageRefs - 1, pageRefs, 10*pageRefs + 1, 1 << 62, 1<<64 - 1} {
		name := "kept"
		if i%2 == 1 {
			name = "dropped"
		}
		series = append(series, record.RefSeries{Ref: ref, Labels: labels.FromStrings("__name__", name)})
		samples = append(samples, record.RefSample{Ref: ref, T: int64(i)}, record.RefSample{Ref: ref ^ 2, T: int64(i)}, record.RefSample{Ref: ref ^ pageRefs<<9, T: int64(i)})
	}
	compare(t, s, o, enc.Series(series, nil))
	compare(t, s, o, enc.Samples(samples, nil))
	if len(o.Times) != 4 || o.Filtered()[Relabelled] != 4 || o.Unknown != 16 {
		t.Errorf("%d samples, filtered %v, %d unknown", len(o.Times), o.Filtered(), o.Unknown)
	}
	if n := len(o.refs.pages); n != 5 {
		t.Errorf("%d pages", n)
	}
}

// TestNewest: the newest sample of a record is that of all, whoever gets them.
func TestNewest(t *testing.T) {
	t.Parallel()
	var enc record.Encoder
	s := newTestSelector(t, dropDropped) // which takes no histograms
	read(t, s, seriesRecord())
	o := s.Outline()
	for i, want := range []int64{0, 0, 4, 3, 0, 6, 7, 8} {
		compare(t, s, o, walRecords()[i])
		if got := o.Newest(); got != want {
			t.Errorf("record %d: %d, want %d", i, got, want)
		}
	}
	compare(t, s, o, enc.Samples([]record.RefSample{{Ref: 1, T: -7}, {Ref: 2, T: -5}, {Ref: 3, T: -6}}, nil))
	if got := o.Newest(); got != -5 {
		t.Errorf("before 1970: %d", got)
	}
	data := walRecords()[2]
	compare(t, s, o, data[:len(data)-3])
	if got := o.Newest(); got != 0 {
		t.Errorf("of a record that does not decode: %d", got)
	}
}

// TestOutlineAllocates: neither reading samples allocates anything, nor does a series
// take more than its bits.
func TestOutlineAllocates(t *testing.T) {
	var enc record.Encoder
	series := make([]record.RefSeries, 100_000)
	samples := make([]record.RefSample, len(series)/10)
	for i := range series {
		series[i] = record.RefSeries{Ref: chunks.HeadSeriesRef(i + 1), Labels: labels.FromStrings("__name__", "kept")}
	}
	for i := range samples {
		samples[i] = record.RefSample{Ref: chunks.HeadSeriesRef(1 + i*10), T: int64(i)}
	}
	o := newTestSelector(t, dropDropped).Outline()
	if err := o.Read(recordOf(enc.Series(series, nil))); err != nil {
		t.Fatal(err)
	}
	rec := recordOf(enc.Samples(samples, nil))
	if n := testing.AllocsPerRun(10, func() {
		if err := o.Read(rec); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for a record", n)
	}
	if len(o.Times) != len(samples) || len(o.refs.pages) > len(series)/pageRefs+1 {
		t.Errorf("%d samples, %d pages", len(o.Times), len(o.refs.pages))
	}
}

// BenchmarkRead is the cost of a sample to a destination, while it is live (outline) and
// while it is drained (selector).
func BenchmarkRead(b *testing.B) {
	const n = 100_000 // series: more than a processor's cache holds the labels of
	var enc record.Encoder
	series := make([]record.RefSeries, n)
	samples := make([]record.RefSample, n)
	for i := range series {
		series[i] = record.RefSeries{Ref: chunks.HeadSeriesRef(i + 1), Labels: labels.FromStrings("__name__", "kept", "i", fmt.Sprint(i))}
		samples[i] = record.RefSample{Ref: chunks.HeadSeriesRef(i + 1), T: int64(i), V: float64(i)}
	}
	var records [][]byte
	for i := 0; i < n; i += 1000 {
		records = append(records, enc.Samples(samples[i:i+1000], nil))
	}
	s := newTestSelector(b, "")
	read(b, s, enc.Series(series, nil))
	o := s.Outline()
	for name, f := range map[string]func(data []byte) error{
		"selector": func(data []byte) error { return s.Read(recordOf(data)) },
		"outline":  func(data []byte) error { return o.Read(recordOf(data)) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, data := range records {
					if err := f(data); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/sample")
		})
	}
}
