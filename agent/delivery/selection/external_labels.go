package selection

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
)

// ExternalAndRelabelled returns the labels that a destination gets for a series
// with the labels lset: external are added where the series has none of that
// name, then cfgs (write_relabel_configs) are applied. It returns false if they
// drop the series. b is overwritten. It is upstream's QueueManager.StoreSeries.
func ExternalAndRelabelled(b *labels.Builder, lset, external labels.Labels, cfgs []*relabel.Config) (labels.Labels, bool) {
	if !kept(b, lset, external, cfgs) {
		return labels.EmptyLabels(), false
	}
	return b.Labels(), true
}

// kept reports whether a series is not dropped, and leaves its labels in b.
func kept(b *labels.Builder, lset, external labels.Labels, cfgs []*relabel.Config) bool {
	b.Reset(lset)
	external.Range(func(l labels.Label) {
		if b.Get(l.Name) == "" {
			b.Set(l.Name, l.Value)
		}
	})
	return relabel.ProcessBuilder(b, cfgs...)
}
