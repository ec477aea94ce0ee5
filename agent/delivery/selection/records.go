package selection

import (
	"fmt"
	"log/slog"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// records decodes the records of the WAL: what of them a destination may get.
type records struct {
	endpoint *remotewrite.Endpoint
	logger   *slog.Logger

	dec     record.Decoder
	segment backlog.Position // whose symbols dec holds

	// Of the record that was decoded last; empty but for what it is made of.
	series     []record.RefSeries
	metadata   []record.RefMetadata
	samples    []record.RefSample
	histograms []record.RefHistogramSample
	floatHists []record.RefFloatHistogramSample
	exemplars  []record.RefExemplar
}

func newRecords(e *remotewrite.Endpoint, logger *slog.Logger) records {
	return records{endpoint: e, logger: logger, segment: backlog.Position{Segment: -1}}
}

func (r *records) forget() { r.segment = backlog.Position{Segment: -1} }

// decode takes in one record. An error means that it does not decode; nothing of it is
// to be found then.
func (r *records) decode(rec *backlog.Record) error {
	if rec.Pos.Generation != r.segment.Generation || rec.Pos.Segment != r.segment.Segment {
		// One symbol table for each segment, else it would grow for ever.
		r.dec = record.NewDecoder(labels.NewSymbolTable(), r.logger)
		r.segment = rec.Pos
	}
	r.clear()
	if err := r.fill(rec); err != nil {
		r.clear()
		return fmt.Errorf("cannot decode %v record at %s: %w", rec.Type, rec.Pos, err)
	}
	return nil
}

func (r *records) clear() {
	r.series, r.metadata = r.series[:0], r.metadata[:0]
	r.samples, r.exemplars = r.samples[:0], r.exemplars[:0]
	r.histograms, r.floatHists = r.histograms[:0], r.floatHists[:0]
}

// newest returns the latest timestamp of the samples, in milliseconds, whoever gets them;
// 0 when there are none.
func (r *records) newest() (newest int64) {
	first := true
	note := func(t int64) {
		if first || t > newest {
			newest, first = t, false
		}
	}
	for i := range r.samples {
		note(r.samples[i].T)
	}
	for i := range r.histograms {
		note(r.histograms[i].T)
	}
	for i := range r.floatHists {
		note(r.floatHists[i].T)
	}
	return newest
}

func (r *records) fill(rec *backlog.Record) (err error) {
	switch rec.Type {
	case record.Series:
		r.series, err = r.dec.Series(rec.Data, r.series)
	case record.Metadata:
		if r.endpoint.V2 {
			r.metadata, err = r.dec.Metadata(rec.Data, r.metadata)
		}
	case record.Samples, record.SamplesV2:
		r.samples, err = r.dec.Samples(rec.Data, r.samples)
	case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
		r.histograms, err = r.dec.HistogramSamples(rec.Data, r.histograms)
	case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
		r.floatHists, err = r.dec.FloatHistogramSamples(rec.Data, r.floatHists)
	case record.Exemplars:
		if r.endpoint.Config.SendExemplars {
			r.exemplars, err = r.dec.Exemplars(rec.Data, r.exemplars)
		}
	}
	return err
}
