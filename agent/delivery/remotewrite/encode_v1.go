package remotewrite

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
)

// messageV1 is the buffers of a message of remote write 1.0. What the time
// series hold lies behind each other in the other slices.
type messageV1 struct {
	series     []prompb.TimeSeries
	labels     []prompb.Label
	samples    []prompb.Sample
	histograms []prompb.Histogram
	exemplars  []prompb.Exemplar
}

// marshal writes items into buf, or into a larger one.
func (m *messageV1) marshal(buf []byte, items []Item) ([]byte, error) {
	m.series, m.labels = m.series[:0], m.labels[:0]
	m.samples, m.histograms, m.exemplars = m.samples[:0], m.histograms[:0], m.exemplars[:0]
	for len(items) > 0 {
		var run []Item
		var c content
		run, items, c = firstRun(items)
		ts := prompb.TimeSeries{Labels: m.labelsOf(run[0].Series.Labels)}
		switch c {
		case floats:
			ts.Samples = m.floats(run)
		case histograms:
			ts.Histograms = m.natives(run)
		case exemplars:
			ts.Exemplars = m.exemplarsOf(run)
		}
		m.series = append(m.series, ts)
	}
	req := prompb.WriteRequest{Timeseries: m.series}
	size := req.Size()
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	_, err := req.MarshalToSizedBuffer(buf)
	return buf, err
}

func (m *messageV1) labelsOf(lset labels.Labels) []prompb.Label {
	from := len(m.labels)
	lset.Range(func(l labels.Label) {
		m.labels = append(m.labels, prompb.Label{Name: l.Name, Value: l.Value})
	})
	return m.labels[from:]
}

func (m *messageV1) floats(run []Item) []prompb.Sample {
	from := len(m.samples)
	for i := range run {
		m.samples = append(m.samples, prompb.Sample{Value: run[i].V, Timestamp: run[i].T})
	}
	return m.samples[from:]
}

func (m *messageV1) natives(run []Item) []prompb.Histogram {
	from := len(m.histograms)
	for i := range run {
		if it := &run[i]; it.Kind == HistogramSample {
			m.histograms = append(m.histograms, prompb.FromIntHistogram(it.T, it.H))
		} else {
			m.histograms = append(m.histograms, prompb.FromFloatHistogram(it.T, it.FH))
		}
	}
	return m.histograms[from:]
}

func (m *messageV1) exemplarsOf(run []Item) []prompb.Exemplar {
	from := len(m.exemplars)
	for i := range run {
		m.exemplars = append(m.exemplars, prompb.Exemplar{Labels: m.labelsOf(run[i].ExemplarLabels), Value: run[i].V, Timestamp: run[i].T})
	}
	return m.exemplars[from:]
}
