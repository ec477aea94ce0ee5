package delivery

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"github.com/prometheus/prometheus/util/compression"

	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

const allKinds = "    send_exemplars: true\n    send_native_histograms: true\n"

// walRecords are one record of each type, of series 1 to 4.
func walRecords() [][]byte {
	var enc record.Encoder
	nhcb := tsdbutil.GenerateTestCustomBucketsHistogram(3)
	out := [][]byte{
		enc.Series([]record.RefSeries{
			{Ref: 1, Labels: labels.FromStrings("__name__", "kept", "job", "a")},
			{Ref: 2, Labels: labels.FromStrings("__name__", "kept", "site", "own")},
			{Ref: 3, Labels: labels.FromStrings("__name__", "dropped")},
		}, nil),
		enc.Metadata([]record.RefMetadata{{Ref: 1, Type: uint8(record.Gauge), Unit: "seconds", Help: "helps"}}, nil),
		enc.Samples([]record.RefSample{{Ref: 1, T: 1, V: 1.5}, {Ref: 2, T: 2, V: 2.5}, {Ref: 3, T: 3, V: 3.5}, {Ref: 4, T: 4, V: 4.5}}, nil),
		enc.Exemplars([]record.RefExemplar{{Ref: 1, T: 5, V: 5.5, Labels: labels.FromStrings("trace_id", "x")}}, nil),
	}
	ints, _ := enc.HistogramSamples([]record.RefHistogramSample{{Ref: 1, T: 6, H: tsdbutil.GenerateTestHistogram(1)}}, nil)
	floats, _ := enc.FloatHistogramSamples([]record.RefFloatHistogramSample{{Ref: 2, T: 7, FH: tsdbutil.GenerateTestFloatHistogram(2)}}, nil)
	custom := enc.CustomBucketsHistogramSamples([]record.RefHistogramSample{{Ref: 1, T: 8, H: nhcb}}, nil)
	return append(out, ints, floats, custom)
}

// siftAll returns what one destination gets of walRecords, and what it does not.
func siftAll(t *testing.T, e *endpoint) (s *sieve, items []item, sum filtered, unknown uint64) {
	t.Helper()
	s = newSieve(e, slog.New(slog.DiscardHandler))
	var dec record.Decoder
	for _, data := range walRecords() {
		rec := &backlog.Record{Pos: backlog.Position{Generation: 1, Segment: 1}, Type: dec.Type(data), Data: data}
		if err := s.read(rec); err != nil {
			t.Fatal(err)
		}
		items = append(items, s.items...)
		for i, n := range s.filtered {
			sum[i] += n
		}
		unknown += s.unknown
	}
	return s, items, sum, unknown
}

const dropDropped = "    write_relabel_configs:\n      - {source_labels: [__name__], regex: dropped, action: drop}\n      - {source_labels: [site], target_label: place}\n      - {regex: site, action: labeldrop}\n"

func TestSieve(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		extra string
		items int
		want  filtered
	}{
		"all kinds, 1.0":       {allKinds, 5, filtered{byRelabelling: 1, byCustomBuckets: 1}},
		"all kinds, 2.0":       {allKinds + "    protobuf_message: io.prometheus.write.v2.Request\n", 6, filtered{byRelabelling: 1}},
		"floats only":          {"", 2, filtered{byRelabelling: 1, byNativeHistograms: 3}},
		"floats and exemplars": {"    send_exemplars: true\n", 3, filtered{byRelabelling: 1, byNativeHistograms: 3}},
	} {
		s, items, sum, unknown := siftAll(t, loadEndpoint(t, "http://127.0.0.1/", c.extra+dropDropped))
		if len(items) != c.items || sum != c.want || unknown != 1 {
			t.Errorf("%s: %d items, filtered %v, unknown %d", name, len(items), sum, unknown)
		}
		// The label of the series wins over the external one.
		for ref, want := range map[chunks.HeadSeriesRef]labels.Labels{
			1: labels.FromStrings("__name__", "kept", "job", "a", "place", "a"),
			2: labels.FromStrings("__name__", "kept", "place", "own"),
		} {
			if got := s.series[ref]; !labels.Equal(got, want) {
				t.Errorf("%s: series %d has labels %s, expected %s", name, ref, got, want)
			}
		}
	}
}

// TestEncode: upstream's decoders read back what was encoded, twice in a row
// with one encoder, the second time fewer items of other kinds.
func TestEncode(t *testing.T) {
	t.Parallel()
	for _, v2 := range []bool{false, true} {
		extra := allKinds + dropDropped
		if v2 {
			extra += "    protobuf_message: io.prometheus.write.v2.Request\n"
		}
		s, items, _, _ := siftAll(t, loadEndpoint(t, "http://127.0.0.1/", extra))
		enc := newEncoder(false)
		for _, items := range [][]item{items, items[2:], items[:2]} {
			body, err := enc.encode(s, items)
			if err != nil {
				t.Fatal(err)
			}
			decoded := decodeV1
			if v2 {
				decoded = decodeV2
			}
			got := decoded(t, body)
			if len(got) != len(items) {
				t.Fatalf("2.0 %t: %d series for %d items", v2, len(got), len(items))
			}
			for i, it := range items {
				if want := describe(s, it); got[i] != want {
					t.Errorf("2.0 %t: item %d is\n%s, expected\n%s", v2, i, got[i], want)
				}
			}
		}
	}
}

func describe(s *sieve, it item) string {
	lset := s.series[it.ref]
	switch it.kind {
	case floatSample:
		return fmt.Sprintf("%s %d %v", lset, it.t, it.v)
	case exemplarItem:
		return fmt.Sprintf("%s exemplar %v", lset, exemplar.Exemplar{Labels: it.labels, Value: it.v, Ts: it.t, HasTs: true})
	case histogramSample:
		return fmt.Sprintf("%s %d int %s", lset, it.t, it.h)
	}
	return fmt.Sprintf("%s %d float %s", lset, it.t, it.fh)
}

func describeHistogram(lset labels.Labels, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) string {
	if h != nil {
		return fmt.Sprintf("%s %d int %s", lset, t, h)
	}
	return fmt.Sprintf("%s %d float %s", lset, t, fh)
}

func decodeV1(t *testing.T, body []byte) (out []string) {
	t.Helper()
	req, err := remote.DecodeWriteRequest(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	b := labels.NewScratchBuilder(0)
	for _, ts := range req.Timeseries {
		lset := ts.ToLabels(&b, nil)
		for _, s := range ts.Samples {
			out = append(out, fmt.Sprintf("%s %d %v", lset, s.Timestamp, s.Value))
		}
		for _, e := range ts.Exemplars {
			out = append(out, fmt.Sprintf("%s exemplar %v", lset, e.ToExemplar(&b, nil)))
		}
		for _, h := range ts.Histograms {
			if h.IsFloatHistogram() {
				out = append(out, describeHistogram(lset, h.Timestamp, nil, h.ToFloatHistogram()))
			} else {
				out = append(out, describeHistogram(lset, h.Timestamp, h.ToIntHistogram(), nil))
			}
		}
	}
	return out
}

func decodeV2(t *testing.T, body []byte) (out []string) {
	t.Helper()
	raw, err := compression.Decode(compression.Snappy, body, compression.NewSyncDecodeBuffer())
	if err != nil {
		t.Fatal(err)
	}
	var req writev2.Request
	if err := req.Unmarshal(raw); err != nil {
		t.Fatal(err)
	}
	b := labels.NewScratchBuilder(0)
	for _, ts := range req.Timeseries {
		lset, err := ts.ToLabels(&b, req.Symbols)
		if err != nil {
			t.Fatal(err)
		}
		meta, err := ts.ToMetadata(req.Symbols)
		if err != nil {
			t.Fatal(err)
		}
		if known := lset.Get("job") == "a"; known != (meta.Type == model.MetricTypeGauge && meta.Unit == "seconds" && meta.Help == "helps") {
			t.Errorf("%s has metadata %+v", lset, meta)
		}
		for _, s := range ts.Samples {
			out = append(out, fmt.Sprintf("%s %d %v", lset, s.Timestamp, s.Value))
		}
		for _, e := range ts.Exemplars {
			ex, err := e.ToExemplar(&b, req.Symbols)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%s exemplar %v", lset, ex))
		}
		for _, h := range ts.Histograms {
			if h.IsFloatHistogram() {
				out = append(out, describeHistogram(lset, h.Timestamp, nil, h.ToFloatHistogram()))
			} else {
				out = append(out, describeHistogram(lset, h.Timestamp, h.ToIntHistogram(), nil))
			}
		}
	}
	return out
}
