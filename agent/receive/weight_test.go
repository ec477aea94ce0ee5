package receive

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/golang/snappy"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/util/teststorage"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/protobuf/encoding/protowire"
)

// TestWeightSizes holds the sizes against upstream's: what grew beyond would weigh too little.
func TestWeightSizes(t *testing.T) {
	// Behind the wrappers are the structs of an internal package.
	orig := func(wrapper any) uintptr {
		e := reflect.TypeOf(wrapper).Field(0).Type.Elem()
		for e.Kind() == reflect.Slice || e.Kind() == reflect.Pointer {
			e = e.Elem()
		}
		return e.Size()
	}
	for name, c := range map[string]struct{ is, most uintptr }{
		"1.0 series":      {unsafe.Sizeof(prompb.TimeSeries{}), 128},
		"1.0 label":       {unsafe.Sizeof(prompb.Label{}), 64},
		"1.0 sample":      {unsafe.Sizeof(prompb.Sample{}), 48},
		"1.0 exemplar":    {unsafe.Sizeof(prompb.Exemplar{}), 72},
		"1.0 histogram":   {unsafe.Sizeof(prompb.Histogram{}), 272},
		"1.0 span":        {unsafe.Sizeof(prompb.BucketSpan{}), 40},
		"1.0 metadata":    {unsafe.Sizeof(prompb.MetricMetadata{}), 88},
		"2.0 series":      {unsafe.Sizeof(writev2.TimeSeries{}), 192},
		"2.0 sample":      {unsafe.Sizeof(writev2.Sample{}), 56},
		"2.0 exemplar":    {unsafe.Sizeof(writev2.Exemplar{}), 72},
		"2.0 histogram":   {unsafe.Sizeof(writev2.Histogram{}), 280},
		"2.0 span":        {unsafe.Sizeof(writev2.BucketSpan{}), 40},
		"attribute":       {orig(pcommon.Map{}), 40},
		"value":           {orig(pcommon.Value{}), 16},
		"resource":        {orig(pmetric.ResourceMetrics{}), 128},
		"scope":           {orig(pmetric.ScopeMetrics{}), 128},
		"metric":          {orig(pmetric.Metric{}), 88},
		"sum":             {orig(pmetric.Sum{}), 40},
		"point":           {orig(pmetric.NumberDataPoint{}), 88},
		"histogram point": {orig(pmetric.HistogramDataPoint{}), 168},
		"exponential":     {orig(pmetric.ExponentialHistogramDataPoint{}), 240},
		"summary":         {orig(pmetric.SummaryDataPoint{}), 104},
		"quantile":        {orig(pmetric.SummaryDataPointValueAtQuantile{}), 16},
		"exemplar":        {orig(pmetric.Exemplar{}), 72},
	} {
		if c.is > c.most {
			t.Errorf("%s: has %d bytes, %d are weighed", name, c.is, c.most)
		}
	}
}

type decoder struct {
	weight func(b []byte) int64
	decode func(b []byte) (any, error)
}

var decoders = map[string]decoder{
	"1.0": {weightOfWrite, func(b []byte) (any, error) { m := &prompb.WriteRequest{}; return m, m.Unmarshal(b) }},
	"2.0": {weightOfWriteV2, func(b []byte) (any, error) { m := &writev2.Request{}; return m, m.Unmarshal(b) }},
	"otlp": {weightOfOTLP, func(b []byte) (any, error) {
		m := pmetricotlp.NewExportRequest()
		return m, m.UnmarshalProto(b)
	}},
	"json": {weightOfOTLPJSON, func(b []byte) (any, error) {
		m := pmetricotlp.NewExportRequest()
		return m, m.UnmarshalJSON(b)
	}},
}

// in is a message within others, by the numbers of their fields, from without to within.
func in(b []byte, nums ...protowire.Number) []byte {
	for i := len(nums) - 1; i >= 0; i-- {
		b = protowire.AppendBytes(protowire.AppendTag(nil, nums[i], protowire.BytesType), b)
	}
	return b
}

// many is a message n times, within others.
func many(n int, b []byte, nums ...protowire.Number) []byte { return in(bytes.Repeat(b, n), nums...) }

func typical(protocol string) []byte {
	const series = 2000
	name := func(i int) string { return fmt.Sprintf("label_%d", i) }
	value := func(s, i int) string { return fmt.Sprintf("value-%d-of-%d", i, s%100*i) }
	var b []byte
	switch protocol {
	case "1.0":
		m := prompb.WriteRequest{}
		for s := range series {
			ts := prompb.TimeSeries{Samples: []prompb.Sample{{Value: 1.5, Timestamp: 1700000000000}}}
			for i := range 12 {
				ts.Labels = append(ts.Labels, prompb.Label{Name: name(i), Value: value(s, i)})
			}
			m.Timeseries = append(m.Timeseries, ts)
		}
		b, _ = m.Marshal()
	case "2.0":
		m, table := writev2.Request{}, writev2.NewSymbolTable()
		for s := range series {
			ts := writev2.TimeSeries{Samples: []writev2.Sample{{Value: 1.5, Timestamp: 1700000000000}}}
			for i := range 12 {
				ts.LabelsRefs = append(ts.LabelsRefs, table.Symbolize(name(i)), table.Symbolize(value(s, i)))
			}
			ts.Metadata.HelpRef = table.Symbolize("What this metric is for, as its author says it.")
			m.Timeseries = append(m.Timeseries, ts)
		}
		m.Symbols = table.Symbols()
		b, _ = m.Marshal()
	default:
		m := pmetric.NewMetrics()
		r := m.ResourceMetrics().AppendEmpty()
		for i := range 12 {
			r.Resource().Attributes().PutStr(name(i), value(1, i))
		}
		sc := r.ScopeMetrics().AppendEmpty()
		sc.Scope().SetName("a/scope")
		for range series / 10 {
			metric := sc.Metrics().AppendEmpty()
			metric.SetName("http.server.request.duration")
			points := metric.SetEmptyGauge().DataPoints()
			for s := range 10 {
				p := points.AppendEmpty()
				p.SetTimestamp(1700000000000)
				p.SetDoubleValue(1.5)
				for i := range 12 {
					p.Attributes().PutStr(name(i), value(s, i))
				}
			}
		}
		req := pmetricotlp.NewExportRequestFromMetrics(m)
		if b, _ = req.MarshalProto(); protocol == "json" {
			b, _ = req.MarshalJSON()
		}
	}
	return b
}

// TestWeightOfTypical holds that what agents send is not refused for a weight it has not. A
// series of 2.0 weighs no more than one of 1.0, but has a fifth of its bytes.
func TestWeightOfTypical(t *testing.T) {
	for protocol, most := range map[string]float64{"1.0": 10.5, "2.0": 50, "otlp": 9, "json": 22} {
		b := typical(protocol)
		d := decoders[protocol]
		ratio := float64(d.weight(b)) / float64(len(b))
		t.Logf("%s: %d bytes, weight %.1f, live %.1f", protocol, len(b), ratio, float64(live(t, d, b))/float64(len(b)))
		if ratio > most {
			t.Errorf("%s: weighs %.1f of its size, at most %.1f", protocol, ratio, most)
		}
	}
}

// live is how much memory is taken by what is decoded, though it end in an error.
func live(t testing.TB, d decoder, b []byte) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m, err := d.decode(b)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if t != nil && err != nil {
		t.Log(err)
	}
	runtime.KeepAlive(m)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

func hostile() map[string][][]byte {
	const n = 200_000
	nothing := []byte(nil)
	ones := bytes.Repeat([]byte{1}, n)
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 100, protowire.VarintType), 1)
	// The last number is longer than its field, and followed by what else would be a string
	// in which the rest is.
	hidden := append([]byte{0x4a, 1, 0x80, 0x7a}, many(n, in(nothing, 8))...)
	list := func(b []byte) []byte { return in(b, 1, 2, 2, 5, 1, 7, 2, 5) }
	point := "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"%s\":{\"dataPoints\":[%s]}}]}]}]}"
	return map[string][][]byte{
		"1.0": {
			many(n, in(nothing, 1)), many(n, in(nothing, 3)), many(n, in(nothing, 1), 1), many(n, in(nothing, 2), 1),
			many(n, in(nothing, 3), 1), many(n, in(nothing, 4), 1), many(n, in(nothing, 1), 1, 3), many(n, in(nothing, 8), 1, 4),
			in(ones, 1, 4, 9), in(ones, 1, 4, 12), in(hidden, 1, 4), many(n, in(in(nothing, 1), 1)), unknown,
			many(n, unknown), many(n, in(unknown, 1)), many(n, in(in([]byte("abc"), 2), 1), 1), append(many(n, in(nothing, 1)), 0x0f),
			many(n, []byte{0x8a, 0x80, 0x80, 0x80, 0x80, 1, 0}), // a number of more than 32 bits
		},
		"2.0": {
			many(n, in(nothing, 4)), many(n, in(nothing, 5)), many(n, in(nothing, 2), 5), many(n, in(nothing, 3), 5),
			many(n, in(nothing, 4), 5), in(ones, 5, 1), many(n, []byte{8, 1}, 5), many(n, in(nothing, 5), 5), in(ones, 5, 3, 9),
		},
		"otlp": {
			many(n, in(nothing, 1)), many(n, in(nothing, 2), 1), many(n, in(nothing, 2), 1, 2), many(n, in(nothing, 1000), 1),
			many(n, in(nothing, 1), 1, 2, 2, 5), many(n, in(nothing, 1), 1, 2, 2, 9), many(n, in(nothing, 1), 1, 2, 2, 10),
			many(n, in(nothing, 1), 1, 2, 2, 11), many(n, in(nothing, 6), 1, 2, 2, 11, 1), many(n, in(nothing, 7), 1, 2, 2, 5, 1),
			many(n, in(nothing, 5), 1, 2, 2, 5, 1), in(ones, 1, 2, 2, 9, 1, 6), in(ones, 1, 2, 2, 10, 1, 8, 2), many(n, in(nothing, 1), 1, 1),
			many(n, in(nothing, 3), 1, 1), many(n, in(nothing, 3), 1, 1, 3), list(many(n, in(nothing, 1))), list(many(n, in([]byte{0x10, 1}, 1))),
			list(many(n, in(in(nothing, 5), 1))), many(n, in(in(nothing, 6), 1), 1, 2, 2, 5, 1, 7, 2, 6), many(n, in(nothing, 10), 1, 2, 2),
		},
		"json": {
			fmt.Appendf(nil, point, "gauge", strings.Repeat("{},", n)+"{}"), fmt.Appendf(nil, point, "exponentialHistogram", strings.Repeat("{},", n)+"{}"),
			fmt.Appendf(nil, point, "exponentialHistogram", strings.Repeat("0,", n)+"0"), fmt.Appendf(nil, point, "exponentialHistogram", strings.Repeat(`",`, n)+`"`),
			fmt.Appendf(nil, point, "histogram", `{"bucketCounts":[`+strings.Repeat("1,", n)+"1]}"),
			[]byte(`{"resourceMetrics":[` + strings.Repeat("{},", n)), []byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[` + strings.Repeat("{},", n)),
		},
	}
}

func TestWeightOfHostile(t *testing.T) {
	for protocol, all := range hostile() {
		d := decoders[protocol]
		for i, b := range all {
			is, weight := live(nil, d, b), d.weight(b)
			t.Logf("%s %d: %d bytes, live %.1f, weight %.1f", protocol, i, len(b), float64(is)/float64(len(b)), float64(weight)/float64(len(b)))
			// Beside it are the bytes themselves, twice; and what the test itself takes.
			if is+2*int64(len(b)) > weight+4<<10 {
				t.Errorf("%s %d: %d bytes take %d when decoded, weigh %d", protocol, i, len(b), is, weight)
			}
		}
	}
}

// TestWeightOfNames is of names that are short in the request and long for each series.
func TestWeightOfNames(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 500_000)
	attribute := func(b []byte) []byte { return append(in([]byte("k"), 1), in(b, 2, 1)...) }
	refs := in([]byte{0, 1}, 5, 1)
	points := many(50_000, in(nil, 1), 2, 2, 5)
	for name, c := range map[string]struct {
		is    int64
		least float64
	}{
		"symbol":              {weightOfWriteV2(append(append(in(nil, 4), in(long, 4)...), many(50_000, refs)...)), 25e9},
		"symbol at the end":   {weightOfWriteV2(append(many(50_000, refs), append(in(nil, 4), in(long, 4)...)...)), 25e9},
		"samples":             {weightOfWriteV2(append(append(in(nil, 4), in(long, 4)...), in(append(many(50_000, in(nil, 2)), in([]byte{0, 1}, 1)...), 5)...)), 25e9},
		"resource":            {weightOfOTLP(in(append(in(attribute(long), 1, 1), points...), 1)), 25e9},
		"resource at the end": {weightOfOTLP(in(append(points, in(attribute(long), 1, 1)...), 1)), 25e9},
		"metric":              {weightOfOTLP(in(append(in(long, 1), many(50_000, in(nil, 1), 5)...), 1, 2, 2)), 25e9},
		"buckets":             {weightOfOTLP(in(append(in(attribute(long), 9), in(make([]byte, 400_000), 7)...), 1, 2, 2, 9, 1)), 25e9},
		"JSON":                {weightOfOTLPJSON(append(strconv.AppendQuote(nil, string(long)), strings.Repeat("{},", 50_000)...)), 25e9},
		"overflow":            {weightOfWriteV2(append(in(bytes.Repeat(long, 8), 4), in(append(many(1<<21, in(nil, 2)), in(make([]byte, 1<<21), 1)...), 5)...)), math.MaxInt64},
		"deep":                {weightOfOTLP(in(nest(10_000), 1, 1, 1, 2)), math.MaxInt64},
		"deep JSON":           {weightOfOTLPJSON([]byte(strings.Repeat(`{"arrayValue":{"values":[`, 20_000))), math.MaxInt64},
	} {
		if float64(c.is) < c.least {
			t.Errorf("%s: weighs %d", name, c.is)
		}
	}
}

// nest is a list in a list, and so on.
func nest(depth int) (b []byte) {
	for range depth {
		b = in(b, 5, 1)
	}
	return b
}

// TestWeightOfAnswer is of what upstream answers, that has each series in it.
func TestWeightOfAnswer(t *testing.T) {
	h := remote.NewWriteHandler(slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry(), storage.AppendableV2(teststorage.NewAppendable()), remoteapi.MessageTypes{remoteapi.WriteV2MessageType}, false, false)
	for name, b := range map[string][]byte{
		"no name":   append(append(in(nil, 4), in(bytes.Repeat([]byte{1}, 10_000), 4)...), many(1000, in([]byte{0, 1}, 5, 1))...),
		"few":       append(append(in([]byte("__name__"), 4), in([]byte("abc"), 4)...), many(1000, in([]byte{0, 1}, 5, 1))...),
		"no symbol": many(20, in(bytes.Repeat([]byte{255, 255, 255, 255, 15}, 10_001), 5, 1)),
		"odd":       in(make([]byte, 100_001), 5, 1),
	} {
		req := httptest.NewRequest("POST", "/", bytes.NewReader(snappy.Encode(nil, b)))
		req.Header.Set("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if is := weightOfWriteV2(b); w.Body.Len() == 0 || is < answers*int64(w.Body.Len()) {
			t.Errorf("%s: answer %d of %d bytes, request of %d weighs %d", name, w.Code, w.Body.Len(), len(b), is)
		}
	}
}

func BenchmarkWeight(b *testing.B) {
	for protocol, d := range decoders {
		for name, body := range map[string][]byte{"typical": typical(protocol), "hostile": hostile()[protocol][1]} {
			b.Run(protocol+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					d.weight(body)
				}
			})
		}
	}
}

// FuzzWeight holds that nothing weighs less than itself, nor less than what is decoded.
func FuzzWeight(f *testing.F) {
	for protocol, all := range hostile() {
		for _, b := range all {
			f.Add(b[:min(len(b), 200)])
		}
		f.Add(typical(protocol)[:300])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for protocol, d := range decoders {
			weight := d.weight(b)
			if weight < int64(len(b)) {
				t.Errorf("%s: %d bytes weigh %d", protocol, len(b), weight)
			}
			if weight == math.MaxInt64 {
				continue
			}
			// Not less for more, where a cut leaves out nothing of what was before.
			if more := d.weight(append(b[:len(b):len(b)], 0x0a, 0)); protocol != "2.0" && more < weight {
				t.Errorf("%s: %d, and %d with more", protocol, weight, more)
			}
			if is := decoded(d, b); float64(is) > float64(weight)+512 {
				t.Errorf("%s: %d bytes take %d, weigh %d", protocol, len(b), is, weight)
			}
		}
	})
}

// decoded is how much memory is in what was decoded, by its types.
func decoded(d decoder, b []byte) uint64 {
	m, _ := d.decode(b)
	return sizeOf(reflect.ValueOf(m))
}

func sizeOf(v reflect.Value) (n uint64) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return sizeOf(v.Elem()) + uint64(v.Elem().Type().Size())
		}
	case reflect.String:
		return uint64(v.Len())
	case reflect.Slice:
		n = uint64(v.Cap()) * uint64(v.Type().Elem().Size())
		for i := range v.Len() {
			n += sizeOf(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			n += sizeOf(v.Field(i))
		}
	}
	return n
}
