package selection

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// Outline tells of the WAL's records how many items a Selector would make of them, and
// of which times, without making them: it keeps two bits of each series, where a
// Selector keeps the labels. It is used by one goroutine.
type Outline struct {
	// Times are the timestamps, in milliseconds, of the samples that the destination
	// gets of the record that Read has got last, and Exemplars counts those that it gets.
	// They are valid until the next call of Read.
	Times     []int64
	Exemplars int

	Remainder

	records records
	builder *labels.Builder
	refs    refs
}

// Outline returns an outline that knows the series of s. It does not share them.
func (s *Selector) Outline() *Outline {
	o := &Outline{records: newRecords(s.records.endpoint, s.records.logger), builder: labels.NewBuilder(labels.EmptyLabels())}
	o.refs.forget()
	for ref, series := range s.known.series {
		o.refs.store(ref, series != nil)
	}
	return o
}

// Forget drops all series, like Selector.Forget.
func (o *Outline) Forget() {
	o.refs.forget()
	o.records.forget()
}

// Read takes in one record and fills Times, Exemplars and Remainder. An error means that
// the record does not decode; nothing of it is in them.
func (o *Outline) Read(rec *backlog.Record) error {
	o.Times, o.Exemplars = o.Times[:0], 0
	o.Remainder.reset()
	if err := o.records.decode(rec); err != nil {
		return err
	}
	cfg := o.records.endpoint
	for _, r := range o.records.series {
		o.refs.store(r.Ref, kept(o.builder, r.Labels, cfg.External, cfg.Config.WriteRelabelConfigs))
	}
	for i := range o.records.samples {
		o.take(o.records.samples[i].Ref, o.records.samples[i].T)
	}
	for _, r := range o.records.histograms {
		if o.takesHistogram(cfg, r.H.Schema) {
			o.take(r.Ref, r.T)
		}
	}
	for _, r := range o.records.floatHists {
		if o.takesHistogram(cfg, r.FH.Schema) {
			o.take(r.Ref, r.T)
		}
	}
	for _, r := range o.records.exemplars {
		if _, keep := o.refs.find(r.Ref); keep {
			o.Exemplars++
		}
	}
	return nil
}

// take counts a sample.
func (o *Outline) take(ref chunks.HeadSeriesRef, t int64) {
	switch known, keep := o.refs.find(ref); {
	case keep:
		o.Times = append(o.Times, t)
	case known:
		o.filter(Relabelled)
	default:
		o.Unknown++
	}
}

// Samples counts those of the record that was read last, whatever becomes of them.
func (o *Outline) Samples() uint64 { return uint64(len(o.Times)) + o.Remainder.samples() }

// Newest returns the latest timestamp of those of Samples, in milliseconds, also where
// the destination gets none of them: a record of nothing but what relabelling drops waits
// like any other. 0 when there are none.
func (o *Outline) Newest() int64 { return o.records.newest() }
