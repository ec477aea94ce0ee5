package backlog

import (
	"log/slog"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
)

// counter counts the samples in the records of one segment: its decoder keeps every
// symbol it has seen.
type counter struct {
	dec        record.Decoder
	samples    []record.RefSample
	histograms []record.RefHistogramSample
	floatHists []record.RefFloatHistogramSample
	exemplars  []record.RefExemplar
}

func newCounter() *counter {
	return &counter{dec: record.NewDecoder(labels.NewSymbolTable(), slog.New(slog.DiscardHandler))}
}

// count returns what a record holds. A record that cannot be decoded holds nothing
// that anybody could deliver.
func (c *counter) count(rec []byte) (n Counts) {
	c.samples, c.histograms, c.floatHists = c.samples[:0], c.histograms[:0], c.floatHists[:0]
	var err error
	switch recordType(rec) {
	case record.Samples, record.SamplesV2:
		if c.samples, err = c.dec.Samples(rec, c.samples[:0]); err == nil {
			n.Floats = uint64(len(c.samples))
		}
	case record.HistogramSamples, record.HistogramSamplesV2, record.CustomBucketsHistogramSamples:
		if c.histograms, err = c.dec.HistogramSamples(rec, c.histograms[:0]); err == nil {
			n.Histograms = uint64(len(c.histograms))
		}
	case record.FloatHistogramSamples, record.FloatHistogramSamplesV2, record.CustomBucketsFloatHistogramSamples:
		if c.floatHists, err = c.dec.FloatHistogramSamples(rec, c.floatHists[:0]); err == nil {
			n.Histograms = uint64(len(c.floatHists))
		}
	case record.Exemplars:
		if c.exemplars, err = c.dec.Exemplars(rec, c.exemplars[:0]); err == nil {
			n.Exemplars = uint64(len(c.exemplars))
		}
	}
	return n
}

// lastFloat returns the timestamp of the last float sample in the record that was counted
// last, in milliseconds; false: it has none.
func (c *counter) lastFloat() (t int64, ok bool) {
	if len(c.samples) == 0 {
		return 0, false
	}
	return c.samples[len(c.samples)-1].T, true
}
