package selection

import (
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// wanted returns the series of a sample, or nil if the destination does not get
// it: then the sample is counted.
func (s *Selector) wanted(ref chunks.HeadSeriesRef) *remotewrite.Series {
	series, found := s.known.series[ref]
	switch {
	case !found:
		s.Unknown++
	case series == nil:
		s.filter(Relabelled)
	}
	return series
}

func (s *Selector) takeFloats() {
	for _, r := range s.records.samples {
		if series := s.wanted(r.Ref); series != nil {
			s.Items = append(s.Items, remotewrite.Item{Kind: remotewrite.FloatSample, Series: series, ST: r.ST, T: r.T, V: r.V})
		}
	}
}

func (s *Selector) takeHistograms() {
	for _, r := range s.records.histograms {
		if !s.takesHistogram(s.records.endpoint, r.H.Schema) {
			continue
		}
		if series := s.wanted(r.Ref); series != nil {
			s.Items = append(s.Items, remotewrite.Item{Kind: remotewrite.HistogramSample, Series: series, ST: r.ST, T: r.T, H: r.H})
		}
	}
}

func (s *Selector) takeFloatHistograms() {
	for _, r := range s.records.floatHists {
		if !s.takesHistogram(s.records.endpoint, r.FH.Schema) {
			continue
		}
		if series := s.wanted(r.Ref); series != nil {
			s.Items = append(s.Items, remotewrite.Item{Kind: remotewrite.FloatHistogramSample, Series: series, ST: r.ST, T: r.T, FH: r.FH})
		}
	}
}

// takeExemplars takes those of series that the destination gets. Exemplars are
// no samples, so the others are not counted.
func (s *Selector) takeExemplars() {
	for _, r := range s.records.exemplars {
		if series := s.known.series[r.Ref]; series != nil {
			s.Items = append(s.Items, remotewrite.Item{Kind: remotewrite.Exemplar, Series: series, T: r.T, V: r.V, ExemplarLabels: r.Labels})
		}
	}
}
