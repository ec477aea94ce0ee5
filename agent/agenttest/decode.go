package agenttest

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage/remote"
)

const (
	version1 = "1.0"
	version2 = "2.0"
)

var errBadHistogram = errors.New("invalid histogram")

// decode reads a compressed body. A request that Cortex would not read has an
// answer; the request is returned even then, if it could be read, so that a
// hook and the tallies know what was in it.
func decode(header http.Header, body []byte, manner RemoteWrite2) (version string, req *prompb.WriteRequest, refusal *Answer) {
	if !strings.Contains(header.Get("Content-Type"), "io.prometheus.write.v2.Request") || manner == IgnoreRemoteWrite2 {
		// The Cortex that Opstrace shipped reads a 2.0 body as 1.0. The two
		// share no field, so it finds an empty request.
		version = version1
		if strings.HasPrefix(header.Get(remote.RemoteWriteVersionHeader), "2.") {
			version = version2
		}
		req, err := remote.DecodeWriteRequest(bytes.NewReader(body))
		if err != nil {
			return version, nil, &Answer{Status: http.StatusBadRequest, Body: err.Error() + "\n"}
		}
		return version, req, nil
	}
	v2, err := remote.DecodeWriteV2Request(bytes.NewReader(body))
	if err == nil {
		req, err = fromV2(v2)
	}
	switch {
	case manner == RejectRemoteWrite2:
		refusal = &Answer{
			Status: http.StatusUnsupportedMediaType,
			Body:   "io.prometheus.write.v2.Request protobuf message is not accepted by this server; only accepts prometheus.WriteRequest\n",
		}
	case err != nil:
		refusal = &Answer{Status: http.StatusBadRequest, Body: err.Error() + "\n"}
	}
	return version2, req, refusal
}

// fromV2 writes a 2.0 request in the terms of 1.0.
func fromV2(v2 *writev2.Request) (*prompb.WriteRequest, error) {
	req := &prompb.WriteRequest{Timeseries: make([]prompb.TimeSeries, len(v2.Timeseries))}
	b := labels.NewScratchBuilder(16)
	for i := range v2.Timeseries {
		from, to := &v2.Timeseries[i], &req.Timeseries[i]
		ls, err := from.ToLabels(&b, v2.Symbols)
		if err != nil {
			return nil, fmt.Errorf("parsing labels for series %v: %w", from.LabelsRefs, err)
		}
		to.Labels = prompb.FromLabels(ls, make([]prompb.Label, 0, ls.Len()))
		to.Samples = make([]prompb.Sample, len(from.Samples))
		for j, s := range from.Samples {
			to.Samples[j] = prompb.Sample{Timestamp: s.Timestamp, Value: s.Value}
		}
		for _, h := range from.Histograms {
			if h.IsFloatHistogram() {
				to.Histograms = append(to.Histograms, prompb.FromFloatHistogram(h.Timestamp, h.ToFloatHistogram()))
			} else {
				to.Histograms = append(to.Histograms, prompb.FromIntHistogram(h.Timestamp, h.ToIntHistogram()))
			}
		}
		for _, e := range from.Exemplars {
			ex, err := e.ToExemplar(&b, v2.Symbols)
			if err != nil {
				return nil, fmt.Errorf("parsing exemplar for series %v: %w", ls, err)
			}
			to.Exemplars = append(to.Exemplars, prompb.Exemplar{
				Labels: prompb.FromLabels(ex.Labels, nil), Value: ex.Value, Timestamp: ex.Ts,
			})
		}
		md, err := from.ToMetadata(v2.Symbols)
		if err != nil {
			return nil, fmt.Errorf("parsing metadata for series %v: %w", ls, err)
		}
		if from.Metadata.Type != writev2.Metadata_METRIC_TYPE_UNSPECIFIED || md.Help != "" || md.Unit != "" {
			req.Metadata = append(req.Metadata, prompb.MetricMetadata{
				Type:             prompb.FromMetadataType(md.Type),
				MetricFamilyName: ls.Get(model.MetricNameLabel),
				Help:             md.Help,
				Unit:             md.Unit,
			})
		}
	}
	return req, nil
}

func histogramValue(h prompb.Histogram) (sampleValue, error) {
	if h.IsFloatHistogram() {
		fh := h.ToFloatHistogram()
		return sampleValue{fh: fh}, fh.Validate()
	}
	ih := h.ToIntHistogram()
	return sampleValue{h: ih}, ih.Validate()
}

func firstTime(ts *prompb.TimeSeries) (int64, bool) {
	switch {
	case len(ts.Samples) > 0:
		return ts.Samples[0].Timestamp, true
	case len(ts.Histograms) > 0:
		return ts.Histograms[0].Timestamp, true
	default:
		return 0, false
	}
}
