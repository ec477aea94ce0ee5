package agenttest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// families is a target's exposition. It is built once and only its values are
// written anew, so that large targets cost a scrape little.
type families struct {
	all   []*dto.MetricFamily
	size  int // about how large an encoded body gets
	set   func(ordinal int64, now time.Time)
	timed map[*dto.Metric]time.Duration
}

// gaugeStep is the fraction between the values of two gauges of one scrape. A
// power of two, it leaves the ordinal exact.
const gaugeStep = 1.0 / (1 << 20)

// hostileValues are label values that break careless escaping.
var hostileValues = []string{
	`a "quoted" back\slash`, "line\nbreak", `{le="1",}`, "ünï→🜚", " ", "#EOF", `\n`, "comma,=", strings.Repeat("x", maxLabelValue),
}

func buildFamilies(target string, o TargetOptions) families {
	b := &builder{target: target}
	scrapes := b.family(ScrapesMetric, dto.MetricType_COUNTER, 1, "")
	b.family("agenttest_gauge", dto.MetricType_GAUGE, o.Series, "")
	churn := b.family("agenttest_churn", dto.MetricType_GAUGE, o.Churn, "")
	explicit := b.family("agenttest_explicit", dto.MetricType_GAUGE, len(o.Explicit), "")
	b.family("agenttest_histogram", dto.MetricType_HISTOGRAM, o.Histograms, "native")
	b.family("agenttest_float_histogram", dto.MetricType_HISTOGRAM, o.FloatHistograms, "float")
	b.family("agenttest_classic_histogram", dto.MetricType_HISTOGRAM, o.ClassicHistograms, "classic")
	timed := map[*dto.Metric]time.Duration{}
	for i, m := range explicit {
		m.Label = labelPairs("target", target, "series", o.Explicit[i].String())
		timed[m] = o.Explicit[i]
	}
	if o.Hostile {
		for i, m := range b.family("agenttest_hostile", dto.MetricType_GAUGE, len(hostileValues), "") {
			m.Label = append(m.Label, labelPairs("value", hostileValues[i])...)
		}
	}
	if o.Wide {
		m := b.family("agenttest_wide", dto.MetricType_GAUGE, 1, "")[0]
		for i := len(m.Label) + 1; i < maxLabels+1; i++ {
			m.Label = append(m.Label, labelPairs(fmt.Sprintf("wide_%02d", i), "x")...)
		}
	}
	f := families{all: b.all, size: 4096, timed: timed}
	f.set = func(ordinal int64, now time.Time) {
		for _, family := range f.all {
			for i, m := range family.Metric {
				setMetric(m, ordinal, i)
			}
		}
		for i, m := range churn {
			m.Label = labelPairs("target", target, "series", fmt.Sprintf("%d-%d", ordinal, i))
		}
		for m, offset := range timed {
			m.TimestampMs = new(now.Add(offset).UnixMilli())
		}
		if o.Exemplars {
			setExemplars(scrapes[0], b.all, ordinal, now)
		}
	}
	return f
}

type builder struct {
	target string
	all    []*dto.MetricFamily
}

// family adds n metrics, none of which have a value yet.
func (b *builder) family(name string, kind dto.MetricType, n int, histogram string) []*dto.Metric {
	if n == 0 {
		return nil
	}
	family := &dto.MetricFamily{
		Name: &name, Type: &kind, Help: new("Of a target that counts its scrapes."),
		Metric: make([]*dto.Metric, n),
	}
	for i := range family.Metric {
		m := &dto.Metric{Label: labelPairs("target", b.target)}
		if n > 1 || name != ScrapesMetric {
			m.Label = append(m.Label, labelPairs("series", fmt.Sprintf("%05d", i))...)
		}
		switch {
		case kind == dto.MetricType_COUNTER:
			m.Counter = &dto.Counter{Value: new(float64)}
		case kind == dto.MetricType_GAUGE:
			m.Gauge = &dto.Gauge{Value: new(float64)}
		default:
			m.Histogram = newHistogram(histogram)
		}
		family.Metric[i] = m
	}
	b.all = append(b.all, family)
	return family.Metric
}

func labelPairs(namesAndValues ...string) (pairs []*dto.LabelPair) {
	for i := 0; i < len(namesAndValues); i += 2 {
		pairs = append(pairs, &dto.LabelPair{Name: &namesAndValues[i], Value: &namesAndValues[i+1]})
	}
	return pairs
}

func newHistogram(kind string) *dto.Histogram {
	h := &dto.Histogram{SampleSum: new(float64)}
	if kind == "classic" {
		h.SampleCount = new(uint64)
		for _, bound := range []float64{0.1, 1, 10} {
			h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: new(bound), CumulativeCount: new(uint64)})
		}
		return h
	}
	h.Schema, h.ZeroThreshold = new(int32(2)), new(1e-9)
	h.PositiveSpan = []*dto.BucketSpan{{Offset: new(int32(-1)), Length: new(uint32(2))}, {Offset: new(int32(3)), Length: new(uint32(1))}}
	h.NegativeSpan = []*dto.BucketSpan{{Offset: new(int32(0)), Length: new(uint32(1))}}
	if kind == "float" {
		h.SampleCountFloat, h.ZeroCountFloat = new(float64), new(float64)
		h.PositiveCount, h.NegativeCount = make([]float64, 3), make([]float64, 1)
		return h
	}
	h.SampleCount, h.ZeroCount = new(uint64), new(uint64)
	h.PositiveDelta, h.NegativeDelta = make([]int64, 3), make([]int64, 1)
	return h
}

func isFloatHistogram(family *dto.MetricFamily) bool {
	h := family.Metric[0].Histogram
	return h != nil && h.SampleCountFloat != nil
}

func setMetric(m *dto.Metric, ordinal int64, i int) {
	switch {
	case m.Counter != nil:
		*m.Counter.Value = float64(ordinal)
	case m.Gauge != nil:
		*m.Gauge.Value = float64(ordinal) + float64(i)*gaugeStep
	case m.Histogram != nil:
		setHistogram(m.Histogram, ordinal)
	}
}

// setHistogram puts ordinal observations into the buckets in turn, so that
// every scrape changes some.
func setHistogram(h *dto.Histogram, ordinal int64) {
	*h.SampleSum = float64(ordinal) / 4
	in := func(bucket, of int64) int64 { return (ordinal + of - 1 - bucket) / of }
	switch {
	case len(h.Bucket) > 0:
		*h.SampleCount = uint64(ordinal)
		cumulative := int64(0)
		for i, bucket := range h.Bucket {
			cumulative += in(int64(i), 4)
			*bucket.CumulativeCount = uint64(cumulative)
		}
	case h.SampleCountFloat != nil:
		*h.SampleCountFloat = float64(ordinal)
		*h.ZeroCountFloat = float64(in(0, 5))
		for i := range h.PositiveCount {
			h.PositiveCount[i] = float64(in(int64(i)+1, 5))
		}
		h.NegativeCount[0] = float64(in(4, 5))
	default:
		*h.SampleCount = uint64(ordinal)
		*h.ZeroCount = uint64(in(0, 5))
		last := int64(0)
		for i := range h.PositiveDelta {
			n := in(int64(i)+1, 5)
			h.PositiveDelta[i], last = n-last, n
		}
		h.NegativeDelta[0] = in(4, 5)
	}
}

func setExemplars(counter *dto.Metric, all []*dto.MetricFamily, ordinal int64, now time.Time) {
	exemplar := &dto.Exemplar{
		Label:     labelPairs("trace_id", strconv.FormatInt(ordinal, 10)),
		Value:     new(float64(ordinal)),
		Timestamp: timestamppb.New(now),
	}
	counter.Counter.Exemplar = exemplar
	for _, family := range all {
		h := family.Metric[0].Histogram
		switch {
		case h == nil:
		case len(h.Bucket) > 0:
			h.Bucket[0].Exemplar = exemplar
		default:
			h.Exemplars = []*dto.Exemplar{exemplar}
		}
	}
}
