package selection

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// known is what has been read of series.
type known struct {
	// series by reference; nil for one that relabelling drops.
	series map[chunks.HeadSeriesRef]*remotewrite.Series
	// early are metadata of series whose record has not been read yet.
	early map[chunks.HeadSeriesRef]*metadata.Metadata
	// shared are all metadata: many series have the same.
	shared map[metadata.Metadata]*metadata.Metadata
}

func newKnown() *known {
	k := &known{}
	k.forget()
	return k
}

func (k *known) forget() {
	k.series = map[chunks.HeadSeriesRef]*remotewrite.Series{}
	k.early = map[chunks.HeadSeriesRef]*metadata.Metadata{}
	k.shared = map[metadata.Metadata]*metadata.Metadata{}
}

func (s *Selector) storeSeries() {
	for _, r := range s.records.series {
		lset, keep := ExternalAndRelabelled(s.builder, r.Labels, s.records.endpoint.External, s.records.endpoint.Config.WriteRelabelConfigs)
		s.known.store(r.Ref, lset, keep)
	}
}

func (k *known) store(ref chunks.HeadSeriesRef, lset labels.Labels, keep bool) {
	early := k.early[ref]
	delete(k.early, ref)
	if !keep {
		k.series[ref] = nil
		return
	}
	// A series is read again from a checkpoint. Items must go on to share one
	// Series, or a request would name it twice.
	if s := k.series[ref]; s != nil && labels.Equal(s.Labels, lset) {
		return
	}
	k.series[ref] = &remotewrite.Series{Labels: lset, Metadata: early}
}

func (s *Selector) storeMetadata() {
	k := s.known
	for _, r := range s.records.metadata {
		m := k.share(metadata.Metadata{Type: record.ToMetricType(r.Type), Unit: r.Unit, Help: r.Help})
		if series := k.series[r.Ref]; series != nil {
			series.Metadata = m
		} else if _, dropped := k.series[r.Ref]; !dropped {
			k.early[r.Ref] = m
		}
	}
}

func (k *known) share(m metadata.Metadata) *metadata.Metadata {
	if s, ok := k.shared[m]; ok {
		return s
	}
	s := &m
	k.shared[m] = s
	return s
}
