package remotewrite

import (
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

// Size estimates the size of a request before it is encoded: that of the
// message of remote write 1.0, in bytes, before compression. A message of 2.0
// with many series is smaller. The zero value is an empty request.
type Size struct {
	bytes int
	// seen are the series whose labels are counted, and in which contents.
	seen map[*Series]contents
}

// contents is a set of content.
type contents uint8

// Add takes items in and returns the size so far. Items need not be grouped.
func (s *Size) Add(items []Item) int {
	if s.seen == nil {
		s.seen = map[*Series]contents{}
	}
	for i := range items {
		it := &items[i]
		c := contents(1) << contentOf(it.Kind)
		if seen := s.seen[it.Series]; seen&c == 0 {
			s.seen[it.Series] = seen | c
			s.bytes += seriesBytes + labelsBytes(it.Series.Labels)
		}
		s.bytes += itemBytes(it)
	}
	return s.bytes
}

// Bytes is the size so far.
func (s *Size) Bytes() int { return s.bytes }

// Series is how many series there are so far.
func (s *Size) Series() int { return len(s.seen) }

// keptSeries is how many series a Size keeps room for.
const keptSeries = 1 << 15

// Reset makes s that of an empty request.
func (s *Size) Reset() {
	s.bytes = 0
	if len(s.seen) > keptSeries {
		s.seen = nil
		return
	}
	clear(s.seen)
}

// Lengths in the encoding of prompb, for times in milliseconds and strings of
// less than 128 bytes.
const (
	seriesBytes    = 4  // tag and length
	labelBytes     = 6  // tags and lengths of a label, its name and its value
	sampleBytes    = 18 // 2 around it, 9 for the value, 7 for the time
	startBytes     = 7  // a start timestamp, in 2.0
	exemplarBytes  = 16
	histogramBytes = 44 // its fields but for buckets
	spanBytes      = 6
	deltaBytes     = 2 // a bucket of integers, as the difference to the one before
	valueBytes     = 8 // a bucket of floats, or a custom boundary
)

func labelsBytes(lset labels.Labels) int {
	n := 0
	lset.Range(func(l labels.Label) { n += labelBytes + len(l.Name) + len(l.Value) })
	return n
}

func itemBytes(it *Item) int {
	n := 0
	if it.ST != 0 {
		n = startBytes
	}
	switch it.Kind {
	case Exemplar:
		return n + exemplarBytes + labelsBytes(it.ExemplarLabels)
	case HistogramSample:
		h := it.H
		return n + layoutBytes(h.PositiveSpans, h.NegativeSpans, h.CustomValues) + deltaBytes*(len(h.PositiveBuckets)+len(h.NegativeBuckets))
	case FloatHistogramSample:
		h := it.FH
		return n + layoutBytes(h.PositiveSpans, h.NegativeSpans, h.CustomValues) + valueBytes*(len(h.PositiveBuckets)+len(h.NegativeBuckets))
	}
	return n + sampleBytes
}

func layoutBytes(positive, negative []histogram.Span, custom []float64) int {
	return histogramBytes + spanBytes*(len(positive)+len(negative)) + valueBytes*len(custom)
}
