package remotewrite

import (
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
)

// Series is what a destination knows of one series. It is shared by the items
// of the series, and read-only but for Metadata.
type Series struct {
	Labels labels.Labels // with external labels, after write_relabel_configs
	// Metadata is for 2.0; nil when none is known.
	Metadata *metadata.Metadata
}

// ItemKind says which fields of an Item are set.
type ItemKind uint8

const (
	FloatSample          ItemKind = iota // V
	HistogramSample                      // H
	FloatHistogramSample                 // FH
	Exemplar                             // V and ExemplarLabels
)

// Item is one thing that a destination gets: upstream's queue counts it as one.
type Item struct {
	Kind ItemKind
	// Order ascends in the order of the WAL, within a batch.
	Order  uint32
	Series *Series
	// ST is the start timestamp, 0 when there is none, and T the timestamp, both
	// in milliseconds.
	ST, T          int64
	V              float64
	H              *histogram.Histogram
	FH             *histogram.FloatHistogram
	ExemplarLabels labels.Labels
}

// Samples counts the items that are samples, which is what the ledger counts:
// exemplars are not.
func Samples(items []Item) uint64 {
	var n uint64
	for i := range items {
		if items[i].Kind != Exemplar {
			n++
		}
	}
	return n
}
