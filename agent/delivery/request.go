package delivery

import (
	"fmt"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/schema"
	"github.com/prometheus/prometheus/util/compression"
)

// encoder builds remote write requests as upstream's queue does: one time
// series for each item, in the order of the WAL, so that the samples of a
// series ascend within a request. It is used by one goroutine; what encode
// returns is valid until the next call.
type encoder struct {
	typeAndUnitLabels bool

	compr   compression.EncodeBuffer
	v1      []prompb.TimeSeries
	v2      []writev2.TimeSeries
	symbols writev2.SymbolsTable
	buf     []byte
}

func newEncoder(typeAndUnitLabels bool) *encoder {
	return &encoder{
		typeAndUnitLabels: typeAndUnitLabels,
		compr:             compression.NewSyncEncodeBuffer(),
		symbols:           writev2.NewSymbolTable(),
	}
}

// encode returns the compressed request for items, whose series s knows.
func (e *encoder) encode(s *sieve, items []item) ([]byte, error) {
	var err error
	if s.e.v2 {
		err = e.marshalV2(s, items)
	} else {
		err = e.marshalV1(s, items)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot encode a write request: %w", err)
	}
	return compression.Encode(compression.Snappy, e.buf, e.compr)
}

func (e *encoder) marshalV1(s *sieve, items []item) error {
	for len(e.v1) < len(items) {
		e.v1 = append(e.v1, prompb.TimeSeries{})
	}
	for i, it := range items {
		ts := &e.v1[i]
		ts.Labels = prompb.FromLabels(s.series[it.ref], ts.Labels)
		ts.Samples, ts.Exemplars, ts.Histograms = ts.Samples[:0], ts.Exemplars[:0], ts.Histograms[:0]
		switch it.kind {
		case floatSample:
			ts.Samples = append(ts.Samples, prompb.Sample{Value: it.v, Timestamp: it.t})
		case exemplarItem:
			ts.Exemplars = append(ts.Exemplars, prompb.Exemplar{Labels: prompb.FromLabels(it.labels, nil), Value: it.v, Timestamp: it.t})
		case histogramSample:
			ts.Histograms = append(ts.Histograms, prompb.FromIntHistogram(it.t, it.h))
		case floatHistogramSample:
			ts.Histograms = append(ts.Histograms, prompb.FromFloatHistogram(it.t, it.fh))
		}
	}
	req := prompb.WriteRequest{Timeseries: e.v1[:len(items)]}
	size := req.Size()
	if cap(e.buf) < size {
		e.buf = make([]byte, size)
	}
	e.buf = e.buf[:size]
	_, err := req.MarshalToSizedBuffer(e.buf)
	return err
}

func (e *encoder) marshalV2(s *sieve, items []item) error {
	e.symbols.Reset()
	for len(e.v2) < len(items) {
		e.v2 = append(e.v2, writev2.TimeSeries{})
	}
	for i, it := range items {
		ts := &e.v2[i]
		lset := s.series[it.ref]
		ts.Metadata = writev2.Metadata{Type: writev2.FromMetadataType(model.MetricTypeUnknown)}
		meta := s.meta[it.ref]
		if meta != nil {
			ts.Metadata.HelpRef = e.symbols.Symbolize(meta.Help)
		}
		switch {
		case e.typeAndUnitLabels:
			m := schema.NewMetadataFromLabels(lset)
			ts.Metadata.Type = writev2.FromMetadataType(m.Type)
			ts.Metadata.UnitRef = e.symbols.Symbolize(m.Unit)
		case meta != nil:
			ts.Metadata.Type = writev2.FromMetadataType(meta.Type)
			ts.Metadata.UnitRef = e.symbols.Symbolize(meta.Unit)
		}
		ts.LabelsRefs = e.symbols.SymbolizeLabels(lset, ts.LabelsRefs)
		ts.Samples, ts.Exemplars, ts.Histograms = ts.Samples[:0], ts.Exemplars[:0], ts.Histograms[:0]
		switch it.kind {
		case floatSample:
			ts.Samples = append(ts.Samples, writev2.Sample{Value: it.v, Timestamp: it.t, StartTimestamp: it.st})
		case exemplarItem:
			ts.Exemplars = append(ts.Exemplars, writev2.Exemplar{LabelsRefs: e.symbols.SymbolizeLabels(it.labels, nil), Value: it.v, Timestamp: it.t})
		case histogramSample:
			ts.Histograms = append(ts.Histograms, writev2.FromIntHistogram(it.st, it.t, it.h))
		case floatHistogramSample:
			ts.Histograms = append(ts.Histograms, writev2.FromFloatHistogram(it.st, it.t, it.fh))
		}
	}
	req := writev2.Request{Symbols: e.symbols.Symbols(), Timeseries: e.v2[:len(items)]}
	var err error
	e.buf, err = req.OptimizedMarshal(e.buf)
	return err
}
