// Package selection decides what of the WAL's records a destination gets, and
// with which labels.
package selection

import (
	"fmt"
	"log/slog"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// Selector turns the WAL's records into what one destination gets, exactly as
// upstream's queue manager does (storage/remote: StoreSeries, Append*): external
// labels, write relabelling, and the kinds of samples that the destination
// takes. It is used by one goroutine.
type Selector struct {
	// Items and Unknown are of the record that Read has got last, and valid until
	// the next call of Read. The series that Items name stay as they are.
	Items []remotewrite.Item
	// Unknown counts samples of series whose record is lost.
	Unknown uint64

	filtered map[string]uint64 // by reason; empty or nil when none is

	endpoint *remotewrite.Endpoint
	logger   *slog.Logger
	builder  *labels.Builder
	known    *known

	dec     record.Decoder
	segment backlog.Position // whose symbols dec holds

	series     []record.RefSeries
	samples    []record.RefSample
	exemplars  []record.RefExemplar
	histograms []record.RefHistogramSample
	floatHists []record.RefFloatHistogramSample
	metadata   []record.RefMetadata
}

// New returns a selector that knows no series. logger is for upstream's decoder.
func New(e *remotewrite.Endpoint, logger *slog.Logger) *Selector {
	return newSelector(e, logger, newKnown())
}

func newSelector(e *remotewrite.Endpoint, logger *slog.Logger, k *known) *Selector {
	return &Selector{
		endpoint: e, logger: logger, known: k,
		builder: labels.NewBuilder(labels.EmptyLabels()),
		segment: backlog.Position{Segment: -1},
	}
}

// Forget drops all series: the reader is about to give them again, or a new
// generation begins in which references mean other series. Items that have been
// read keep theirs.
func (s *Selector) Forget() {
	s.known.forget()
	s.segment = backlog.Position{Segment: -1}
}

// Twin returns a selector that shares the series of s, but not what Read fills.
// It belongs to the same goroutine.
func (s *Selector) Twin() *Selector { return newSelector(s.endpoint, s.logger, s.known) }

// Read takes in one record and fills Items, Unknown and what Filtered returns.
// An error means that the record does not decode; nothing of it is in Items.
func (s *Selector) Read(rec *backlog.Record) error {
	s.Items = s.Items[:0]
	s.Unknown = 0
	clear(s.filtered)
	if rec.Pos.Generation != s.segment.Generation || rec.Pos.Segment != s.segment.Segment {
		// One symbol table for each segment, else it would grow for ever.
		s.dec = record.NewDecoder(labels.NewSymbolTable(), s.logger)
		s.segment = rec.Pos
	}
	if err := s.decode(rec); err != nil {
		return fmt.Errorf("cannot decode %v record at %s: %w", rec.Type, rec.Pos, err)
	}
	return nil
}

func (s *Selector) decode(rec *backlog.Record) (err error) {
	switch rec.Type {
	case record.Series:
		if s.series, err = s.dec.Series(rec.Data, s.series[:0]); err == nil {
			s.storeSeries()
		}
	case record.Metadata:
		if !s.endpoint.V2 {
			return nil
		}
		if s.metadata, err = s.dec.Metadata(rec.Data, s.metadata[:0]); err == nil {
			s.storeMetadata()
		}
	case record.Samples, record.SamplesV2:
		if s.samples, err = s.dec.Samples(rec.Data, s.samples[:0]); err == nil {
			s.takeFloats()
		}
	case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
		if s.histograms, err = s.dec.HistogramSamples(rec.Data, s.histograms[:0]); err == nil {
			s.takeHistograms()
		}
	case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
		if s.floatHists, err = s.dec.FloatHistogramSamples(rec.Data, s.floatHists[:0]); err == nil {
			s.takeFloatHistograms()
		}
	case record.Exemplars:
		if !s.endpoint.Config.SendExemplars {
			return nil
		}
		if s.exemplars, err = s.dec.Exemplars(rec.Data, s.exemplars[:0]); err == nil {
			s.takeExemplars()
		}
	}
	return err
}

// Samples counts those of the record that was read last, whatever becomes of
// them.
func (s *Selector) Samples() uint64 {
	n := remotewrite.Samples(s.Items) + s.Unknown
	for _, c := range s.filtered {
		n += c
	}
	return n
}
