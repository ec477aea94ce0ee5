package remotewrite

import (
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/schema"
)

// oneSeriesPerItem is the request that upstream's queue makes of items, in the
// order of the WAL: populateTimeSeries and populateV2TimeSeries in
// storage/remote/queue_manager.go, which are not exported.
func oneSeriesPerItem(t testing.TB, v2 bool, items []Item, typeAndUnitLabels bool) []byte {
	t.Helper()
	var message []byte
	var err error
	if v2 {
		message, err = queuedV2(items, typeAndUnitLabels).Marshal()
	} else {
		message, err = queuedV1(items).Marshal()
	}
	if err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, message)
}

func queuedV1(items []Item) *prompb.WriteRequest {
	req := &prompb.WriteRequest{}
	for _, it := range items {
		ts := prompb.TimeSeries{Labels: prompb.FromLabels(it.Series.Labels, nil)}
		switch it.Kind {
		case FloatSample:
			ts.Samples = []prompb.Sample{{Value: it.V, Timestamp: it.T}}
		case Exemplar:
			ts.Exemplars = []prompb.Exemplar{{Labels: prompb.FromLabels(it.ExemplarLabels, nil), Value: it.V, Timestamp: it.T}}
		case HistogramSample:
			ts.Histograms = []prompb.Histogram{prompb.FromIntHistogram(it.T, it.H)}
		case FloatHistogramSample:
			ts.Histograms = []prompb.Histogram{prompb.FromFloatHistogram(it.T, it.FH)}
		}
		req.Timeseries = append(req.Timeseries, ts)
	}
	return req
}

func queuedV2(items []Item, typeAndUnitLabels bool) *writev2.Request {
	req := &writev2.Request{}
	symbols := writev2.NewSymbolTable()
	for _, it := range items {
		ts := writev2.TimeSeries{}
		m := it.Series.Metadata
		switch {
		case typeAndUnitLabels:
			fromLabels := schema.NewMetadataFromLabels(it.Series.Labels)
			ts.Metadata.Type = writev2.FromMetadataType(fromLabels.Type)
			ts.Metadata.UnitRef = symbols.Symbolize(fromLabels.Unit)
			if m != nil {
				ts.Metadata.HelpRef = symbols.Symbolize(m.Help)
			}
		case m != nil:
			ts.Metadata = writev2.Metadata{Type: writev2.FromMetadataType(m.Type), HelpRef: symbols.Symbolize(m.Help), UnitRef: symbols.Symbolize(m.Unit)}
		default:
			ts.Metadata.Type = writev2.FromMetadataType(model.MetricTypeUnknown)
		}
		ts.LabelsRefs = symbols.SymbolizeLabels(it.Series.Labels, nil)
		switch it.Kind {
		case FloatSample:
			ts.Samples = []writev2.Sample{{Value: it.V, Timestamp: it.T, StartTimestamp: it.ST}}
		case Exemplar:
			ts.Exemplars = []writev2.Exemplar{{LabelsRefs: symbols.SymbolizeLabels(it.ExemplarLabels, nil), Value: it.V, Timestamp: it.T}}
		case HistogramSample:
			ts.Histograms = []writev2.Histogram{writev2.FromIntHistogram(it.ST, it.T, it.H)}
		case FloatHistogramSample:
			ts.Histograms = []writev2.Histogram{writev2.FromFloatHistogram(it.ST, it.T, it.FH)}
		}
		req.Timeseries = append(req.Timeseries, ts)
	}
	req.Symbols = symbols.Symbols()
	return req
}
