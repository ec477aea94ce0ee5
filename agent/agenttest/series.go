package agenttest

import (
	"math"
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

// Reason is why a sample was not stored.
type Reason string

const (
	OutOfOrder   Reason = "out of order"
	Duplicate    Reason = "duplicate" // same time as the newest sample, another value
	OutOfBounds  Reason = "out of bounds"
	TooOld       Reason = "too old" // outside the out-of-order window
	TooNew       Reason = "too new"
	BadLabels    Reason = "bad labels"
	BadHistogram Reason = "bad histogram"
	// WithOthers is a good sample refused because another one of its request
	// was bad (Manners.AllOrNothing).
	WithOthers Reason = "refused with others"
	// Silent is a sample lost behind an acknowledgement: it came after a newer
	// one of its series in the same request.
	Silent Reason = "silently lost"
)

// sampleValue is a sample's value: a float, or one of the histograms.
type sampleValue struct {
	f  float64
	h  *histogram.Histogram
	fh *histogram.FloatHistogram
}

// same reports whether two values are the same bit by bit, so that stale markers
// equal each other.
func (v sampleValue) same(o sampleValue) bool {
	switch {
	case v.h != nil:
		return o.h != nil && v.h.Equals(o.h)
	case v.fh != nil:
		return o.fh != nil && v.fh.Equals(o.fh)
	default:
		return o.h == nil && o.fh == nil && math.Float64bits(v.f) == math.Float64bits(o.f)
	}
}

// point is one stored sample. It holds no pointer, so that millions of them
// cost the garbage collector nothing; a histogram's value is in
// series.histograms.
type point struct {
	t  int64
	f  float64
	at int64 // Unix milliseconds of its arrival
}

type series struct {
	labels labels.Labels
	bad    string // what is wrong with the labels
	keep   bool   // whether points and exemplars are kept

	points     []point // ascending by t
	histograms map[int64]sampleValue
	exemplars  []exemplar.Exemplar

	count       int
	first, last int64
	lastValue   sampleValue
	sum         float64 // of the floats that are numbers
	disorder    int     // samples stored behind a newer one
}

// check is Cortex' ingester deciding about a sample, by what was stored before
// the request. It returns "" for a sample to be taken.
func (s *series) check(t int64, v sampleValue, b bounds) Reason {
	if t >= b.min {
		switch {
		case s.count == 0 || t > s.last:
			return ""
		case t == s.last && s.lastValue.same(v):
			return ""
		case t == s.last:
			return Duplicate
		}
	}
	switch {
	case b.outOfOrder && t >= b.minOutOfOrder:
		return ""
	case b.outOfOrder:
		return TooOld
	case t < b.min:
		return OutOfBounds
	default:
		return OutOfOrder
	}
}

// stored is what became of a sample that check let pass.
type stored int

const (
	storedNew stored = iota
	storedBefore
	storedNot
)

// store takes a sample that check let pass. A newer one of the same request
// may have come before it; then TSDB drops it at the commit without a word,
// unless it keeps samples out of order.
func (s *series) store(t int64, v sampleValue, at int64, outOfOrder bool) stored {
	if s.count == 0 || t > s.last {
		s.add(len(s.points), t, v, at)
		s.last, s.lastValue = t, v
		return storedNew
	}
	if s.has(t, v) {
		return storedBefore
	}
	i, found := s.find(t)
	if !outOfOrder || found {
		return storedNot
	}
	s.disorder++
	s.add(i, t, v, at)
	return storedNew
}

func (s *series) add(i int, t int64, v sampleValue, at int64) {
	if s.count == 0 || t < s.first {
		s.first = t
	}
	s.count++
	if !math.IsNaN(v.f) {
		s.sum += v.f
	}
	if !s.keep {
		return
	}
	if v.h != nil || v.fh != nil {
		if s.histograms == nil {
			s.histograms = map[int64]sampleValue{}
		}
		s.histograms[t] = v
	}
	s.points = slices.Insert(s.points, i, point{t: t, f: v.f, at: at})
}

// find returns where the sample of time t is, or belongs. It knows nothing of
// a series whose samples are not kept.
func (s *series) find(t int64) (int, bool) {
	return sort.Find(len(s.points), func(i int) int {
		switch p := s.points[i].t; {
		case t < p:
			return -1
		case t > p:
			return 1
		default:
			return 0
		}
	})
}

// has reports whether a sample is stored with this time and value.
func (s *series) has(t int64, v sampleValue) bool {
	if s.count > 0 && t == s.last {
		return s.lastValue.same(v)
	}
	i, found := s.find(t)
	return found && s.at(i).same(v)
}

func (s *series) at(i int) sampleValue {
	if v, ok := s.histograms[s.points[i].t]; ok {
		return v
	}
	return sampleValue{f: s.points[i].f}
}

// addExemplar keeps an exemplar unless it is there already.
func (s *series) addExemplar(e exemplar.Exemplar) bool {
	for i := len(s.exemplars) - 1; i >= 0 && s.exemplars[i].Ts >= e.Ts; i-- {
		if s.exemplars[i].Equals(e) {
			return false
		}
	}
	if s.keep {
		s.exemplars = append(s.exemplars, e)
	}
	return true
}
