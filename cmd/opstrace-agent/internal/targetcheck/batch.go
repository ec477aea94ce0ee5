package targetcheck

import (
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/util/compression"
)

// batch builds the requests of one destination, to know their size. A request
// lives until it is full, so a large target takes no more memory than a small one.
type batch struct {
	rw      *config.RemoteWriteConfig
	send    Send
	n       int // samples since the last flush
	v1      prompb.WriteRequest
	v2      writev2.Request
	symbols writev2.SymbolsTable
}

func newBatch(rw *config.RemoteWriteConfig) *batch {
	return &batch{rw: rw, symbols: writev2.NewSymbolTable()}
}

// add puts a sample into the request as upstream's queue does: a series each.
func (b *batch) add(s sample) error {
	if (s.h != nil || s.fh != nil) && !b.rw.SendNativeHistograms {
		b.send.Histograms++
		return nil
	}
	if !b.rw.SendExemplars {
		s.exemplars = nil
	}
	if b.rw.ProtobufMessage == remoteapi.WriteV2MessageType {
		b.addV2(s)
	} else {
		b.addV1(s)
	}
	b.send.Samples++
	b.n++
	if b.n >= b.rw.QueueConfig.MaxSamplesPerSend {
		return b.flush()
	}
	return nil
}

func (b *batch) addV1(s sample) {
	ts := prompb.TimeSeries{Labels: prompb.FromLabels(s.labels, nil)}
	switch {
	case s.h != nil:
		ts.Histograms = []prompb.Histogram{prompb.FromIntHistogram(s.t, s.h)}
	case s.fh != nil:
		ts.Histograms = []prompb.Histogram{prompb.FromFloatHistogram(s.t, s.fh)}
	default:
		ts.Samples = []prompb.Sample{{Timestamp: s.t, Value: s.v}}
	}
	for _, e := range s.exemplars {
		ts.Exemplars = append(ts.Exemplars, prompb.Exemplar{Labels: prompb.FromLabels(e.Labels, nil), Value: e.Value, Timestamp: e.Ts})
	}
	b.v1.Timeseries = append(b.v1.Timeseries, ts)
}

func (b *batch) addV2(s sample) {
	ts := writev2.TimeSeries{LabelsRefs: b.symbols.SymbolizeLabels(s.labels, nil)}
	switch {
	case s.h != nil:
		ts.Histograms = []writev2.Histogram{writev2.FromIntHistogram(0, s.t, s.h)}
	case s.fh != nil:
		ts.Histograms = []writev2.Histogram{writev2.FromFloatHistogram(0, s.t, s.fh)}
	default:
		ts.Samples = []writev2.Sample{{Timestamp: s.t, Value: s.v}}
	}
	for _, e := range s.exemplars {
		ts.Exemplars = append(ts.Exemplars, writev2.Exemplar{LabelsRefs: b.symbols.SymbolizeLabels(e.Labels, nil), Value: e.Value, Timestamp: e.Ts})
	}
	b.v2.Timeseries = append(b.v2.Timeseries, ts)
}

// flush encodes the request and forgets it.
func (b *batch) flush() error {
	if b.n == 0 {
		return nil
	}
	var (
		message []byte
		err     error
	)
	if len(b.v2.Timeseries) > 0 {
		b.v2.Symbols = b.symbols.Symbols()
		message, err = b.v2.Marshal()
	} else {
		message, err = b.v1.Marshal()
	}
	if err != nil {
		return err
	}
	body, err := compression.Encode(compression.Snappy, message, nil)
	if err != nil {
		return err
	}
	b.send.Bytes += len(body)
	b.n = 0
	b.v1.Timeseries, b.v2.Timeseries = b.v1.Timeseries[:0], b.v2.Timeseries[:0]
	b.symbols.Reset()
	return nil
}
