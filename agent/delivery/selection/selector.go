// Package selection decides what of the WAL's records a destination gets, and
// with which labels.
package selection

import (
	"log/slog"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// Selector turns the WAL's records into what one destination gets, exactly as
// upstream's queue manager does (storage/remote: StoreSeries, Append*): external
// labels, write relabelling, and the kinds of samples that the destination
// takes. It is used by one goroutine.
type Selector struct {
	// Items are of the record that Read has got last, and valid until the next call of
	// Read. The series that they name stay as they are.
	Items []remotewrite.Item

	Remainder

	records records
	builder *labels.Builder
	known   *known
}

// New returns a selector that knows no series. logger is for upstream's decoder.
func New(e *remotewrite.Endpoint, logger *slog.Logger) *Selector {
	return &Selector{records: newRecords(e, logger), known: newKnown(), builder: labels.NewBuilder(labels.EmptyLabels())}
}

// Forget drops all series: the reader is about to give them again, or a new
// generation begins in which references mean other series. Items that have been
// read keep theirs.
func (s *Selector) Forget() {
	s.known.forget()
	s.records.forget()
}

// Read takes in one record and fills Items and Remainder. An error means that the
// record does not decode; nothing of it is in Items.
func (s *Selector) Read(rec *backlog.Record) error {
	s.Items = s.Items[:0]
	s.Remainder.reset()
	if err := s.records.decode(rec); err != nil {
		return err
	}
	s.storeSeries()
	s.storeMetadata()
	s.takeFloats()
	s.takeHistograms()
	s.takeFloatHistograms()
	s.takeExemplars()
	return nil
}

// Samples counts those of the record that was read last, whatever becomes of
// them.
func (s *Selector) Samples() uint64 { return remotewrite.Samples(s.Items) + s.Remainder.samples() }

// Newest returns the latest timestamp of those of Samples, in milliseconds, also where
// the destination gets none of them: a record of nothing but what relabelling drops waits
// like any other. 0 when there are none.
func (s *Selector) Newest() int64 { return s.records.newest() }
