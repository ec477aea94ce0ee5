package delivery

import (
	"fmt"
	"log/slog"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// kind of an item.
type kind uint8

const (
	floatSample kind = iota
	histogramSample
	floatHistogramSample
	exemplarItem
)

// item is one thing that a destination gets: upstream's queue counts it as one.
type item struct {
	kind   kind
	ref    chunks.HeadSeriesRef
	st, t  int64 // milliseconds
	v      float64
	h      *histogram.Histogram
	fh     *histogram.FloatHistogram
	labels labels.Labels // of an exemplar
}

// reason why a sample is filtered out; index into filtered.
type reason uint8

const (
	byRelabelling reason = iota
	byNativeHistograms
	byCustomBuckets
	byAge
	numReasons
)

var reasonNames = [numReasons]string{"relabelled", "native_histogram", "custom_buckets", "too_old"}

// filtered counts samples by reason.
type filtered [numReasons]uint64

// sieve turns WAL records into what one destination gets, exactly as upstream's
// queue manager does (storage/remote: StoreSeries, Append*): external labels,
// write relabelling, and the kinds of samples that the destination takes. It is
// used by one goroutine.
type sieve struct {
	e       *endpoint
	logger  *slog.Logger
	builder *labels.Builder

	dec     record.Decoder
	segment backlog.Position // whose symbols dec holds

	series  map[chunks.HeadSeriesRef]labels.Labels
	dropped map[chunks.HeadSeriesRef]struct{}
	meta    map[chunks.HeadSeriesRef]*metadata.Metadata

	// Filled by read, valid until the next call.
	items    []item
	filtered filtered
	// unknown samples belong to series whose record is lost.
	unknown uint64

	seriesBuf     []record.RefSeries
	samplesBuf    []record.RefSample
	exemplarsBuf  []record.RefExemplar
	histogramsBuf []record.RefHistogramSample
	floatHistBuf  []record.RefFloatHistogramSample
	metadataBuf   []record.RefMetadata
}

func newSieve(e *endpoint, logger *slog.Logger) *sieve {
	s := &sieve{e: e, logger: logger, builder: labels.NewBuilder(labels.EmptyLabels())}
	s.forget()
	return s
}

// forget drops all series: the reader is about to give them again, or a new
// generation begins in which references mean other series.
func (s *sieve) forget() {
	s.series = map[chunks.HeadSeriesRef]labels.Labels{}
	s.dropped = map[chunks.HeadSeriesRef]struct{}{}
	s.meta = map[chunks.HeadSeriesRef]*metadata.Metadata{}
	s.segment = backlog.Position{Segment: -1}
}

// twin shares the series of s, but not what read fills.
func (s *sieve) twin() *sieve {
	return &sieve{
		e: s.e, logger: s.logger, builder: labels.NewBuilder(labels.EmptyLabels()),
		series: s.series, dropped: s.dropped, meta: s.meta,
		segment: backlog.Position{Segment: -1},
	}
}

// read takes in one record and fills items, filtered and unknown. An error
// means that the record does not decode.
func (s *sieve) read(rec *backlog.Record) error {
	s.items = s.items[:0]
	s.filtered = filtered{}
	s.unknown = 0
	if rec.Pos.Generation != s.segment.Generation || rec.Pos.Segment != s.segment.Segment {
		// One symbol table for each segment, else it would grow for ever.
		s.dec = record.NewDecoder(labels.NewSymbolTable(), s.logger)
		s.segment = rec.Pos
	}
	var err error
	switch rec.Type {
	case record.Series:
		if s.seriesBuf, err = s.dec.Series(rec.Data, s.seriesBuf[:0]); err == nil {
			s.storeSeries()
		}
	case record.Metadata:
		if s.e.v2 {
			if s.metadataBuf, err = s.dec.Metadata(rec.Data, s.metadataBuf[:0]); err == nil {
				s.storeMetadata()
			}
		}
	case record.Samples, record.SamplesV2:
		if s.samplesBuf, err = s.dec.Samples(rec.Data, s.samplesBuf[:0]); err == nil {
			for _, r := range s.samplesBuf {
				if s.wanted(r.Ref) {
					s.items = append(s.items, item{kind: floatSample, ref: r.Ref, st: r.ST, t: r.T, v: r.V})
				}
			}
		}
	case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
		if s.histogramsBuf, err = s.dec.HistogramSamples(rec.Data, s.histogramsBuf[:0]); err == nil {
			s.storeHistograms()
		}
	case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
		if s.floatHistBuf, err = s.dec.FloatHistogramSamples(rec.Data, s.floatHistBuf[:0]); err == nil {
			s.storeFloatHistograms()
		}
	case record.Exemplars:
		if s.e.cfg.SendExemplars {
			if s.exemplarsBuf, err = s.dec.Exemplars(rec.Data, s.exemplarsBuf[:0]); err == nil {
				for _, r := range s.exemplarsBuf {
					if _, ok := s.series[r.Ref]; ok {
						s.items = append(s.items, item{kind: exemplarItem, ref: r.Ref, t: r.T, v: r.V, labels: r.Labels})
					}
				}
			}
		}
	}
	if err != nil {
		return fmt.Errorf("cannot decode %v record at %s: %w", rec.Type, rec.Pos, err)
	}
	return nil
}

// samples counts those of the record that was read last, whatever becomes of them.
func (s *sieve) samples() uint64 {
	n := samplesOf(s.items) + s.unknown
	for _, c := range s.filtered {
		n += c
	}
	return n
}

func (s *sieve) storeSeries() {
	for _, r := range s.seriesBuf {
		s.builder.Reset(r.Labels)
		s.e.external.Range(func(l labels.Label) {
			if s.builder.Get(l.Name) == "" {
				s.builder.Set(l.Name, l.Value)
			}
		})
		if !relabel.ProcessBuilder(s.builder, s.e.cfg.WriteRelabelConfigs...) {
			s.dropped[r.Ref] = struct{}{}
			continue
		}
		s.series[r.Ref] = s.builder.Labels()
	}
}

func (s *sieve) storeMetadata() {
	for _, r := range s.metadataBuf {
		s.meta[r.Ref] = &metadata.Metadata{Type: record.ToMetricType(r.Type), Unit: r.Unit, Help: r.Help}
	}
}

// wanted tells whether the destination gets samples of a series, and counts
// the sample if not.
func (s *sieve) wanted(ref chunks.HeadSeriesRef) bool {
	if _, ok := s.series[ref]; ok {
		return true
	}
	if _, ok := s.dropped[ref]; ok {
		s.filtered[byRelabelling]++
	} else {
		s.unknown++
	}
	return false
}

func (s *sieve) storeHistograms() {
	for _, r := range s.histogramsBuf {
		if s.takesHistogram(r.H.Schema) && s.wanted(r.Ref) {
			s.items = append(s.items, item{kind: histogramSample, ref: r.Ref, st: r.ST, t: r.T, h: r.H})
		}
	}
}

func (s *sieve) storeFloatHistograms() {
	for _, r := range s.floatHistBuf {
		if s.takesHistogram(r.FH.Schema) && s.wanted(r.Ref) {
			s.items = append(s.items, item{kind: floatHistogramSample, ref: r.Ref, st: r.ST, t: r.T, fh: r.FH})
		}
	}
}

func (s *sieve) takesHistogram(schema int32) bool {
	switch {
	case !s.e.cfg.SendNativeHistograms:
		s.filtered[byNativeHistograms]++
		return false
	case !s.e.v2 && schema == histogram.CustomBucketsSchema:
		// Remote write 1.0 cannot carry custom buckets.
		s.filtered[byCustomBuckets]++
		return false
	}
	return true
}
