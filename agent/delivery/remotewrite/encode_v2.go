package remotewrite

import (
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/schema"
)

// messageV2 is the buffers of a message of remote write 2.0. What the time
// series hold lies behind each other in the other slices.
type messageV2 struct {
	symbols    writev2.SymbolsTable
	series     []writev2.TimeSeries
	labels     []uint32
	samples    []writev2.Sample
	histograms []writev2.Histogram
	exemplars  []writev2.Exemplar
}

func newMessageV2() messageV2 { return messageV2{symbols: writev2.NewSymbolTable()} }

// marshal writes items into buf, or into a larger one.
func (m *messageV2) marshal(buf []byte, items []Item, typeAndUnitLabels bool) ([]byte, error) {
	m.symbols.Reset()
	m.series, m.labels = m.series[:0], m.labels[:0]
	m.samples, m.histograms, m.exemplars = m.samples[:0], m.histograms[:0], m.exemplars[:0]
	for len(items) > 0 {
		var run []Item
		var c content
		run, items, c = firstRun(items)
		ts := writev2.TimeSeries{
			Metadata:   m.metadata(run[0].Series, typeAndUnitLabels),
			LabelsRefs: m.labelsOf(run[0].Series.Labels),
		}
		switch c {
		case floats:
			ts.Samples = m.floats(run)
		case histograms:
			ts.Histograms = m.natives(run)
		}
		// Prometheus refuses a time series of exemplars alone.
		if c != exemplars && len(items) > 0 && items[0].Series == run[0].Series && items[0].Kind == Exemplar {
			run, items, c = firstRun(items)
		}
		if c == exemplars {
			ts.Exemplars = m.exemplarsOf(run)
		}
		m.series = append(m.series, ts)
	}
	req := writev2.Request{Symbols: m.symbols.Symbols(), Timeseries: m.series}
	return req.OptimizedMarshal(buf)
}

// metadata is what upstream's queue sends of a series (populateV2TimeSeries).
func (m *messageV2) metadata(s *Series, typeAndUnitLabels bool) writev2.Metadata {
	out := writev2.Metadata{Type: writev2.FromMetadataType(model.MetricTypeUnknown)}
	if s.Metadata != nil {
		out.HelpRef = m.symbols.Symbolize(s.Metadata.Help)
	}
	switch {
	case typeAndUnitLabels:
		fromLabels := schema.NewMetadataFromLabels(s.Labels)
		out.Type = writev2.FromMetadataType(fromLabels.Type)
		out.UnitRef = m.symbols.Symbolize(fromLabels.Unit)
	case s.Metadata != nil:
		out.Type = writev2.FromMetadataType(s.Metadata.Type)
		out.UnitRef = m.symbols.Symbolize(s.Metadata.Unit)
	}
	return out
}

func (m *messageV2) labelsOf(lset labels.Labels) []uint32 {
	from := len(m.labels)
	m.labels = slices.Grow(m.labels, 2*lset.Len())
	refs := m.symbols.SymbolizeLabels(lset, m.labels[from:])
	m.labels = m.labels[:from+len(refs)]
	return refs
}

func (m *messageV2) floats(run []Item) []writev2.Sample {
	from := len(m.samples)
	for i := range run {
		m.samples = append(m.samples, writev2.Sample{Value: run[i].V, Timestamp: run[i].T, StartTimestamp: run[i].ST})
	}
	return m.samples[from:]
}

func (m *messageV2) natives(run []Item) []writev2.Histogram {
	from := len(m.histograms)
	for i := range run {
		if it := &run[i]; it.Kind == HistogramSample {
			m.histograms = append(m.histograms, writev2.FromIntHistogram(it.ST, it.T, it.H))
		} else {
			m.histograms = append(m.histograms, writev2.FromFloatHistogram(it.ST, it.T, it.FH))
		}
	}
	return m.histograms[from:]
}

func (m *messageV2) exemplarsOf(run []Item) []writev2.Exemplar {
	from := len(m.exemplars)
	for i := range run {
		m.exemplars = append(m.exemplars, writev2.Exemplar{LabelsRefs: m.labelsOf(run[i].ExemplarLabels), Value: run[i].V, Timestamp: run[i].T})
	}
	return m.exemplars[from:]
}
