package targetcheck

import (
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/tenantlabel"
)

// batch builds the requests of one destination, to know their size. A request
// lives until it is full, so a large target takes no more memory than a small one.
type batch struct {
	rw      *config.RemoteWriteConfig
	send    Send
	items   []remotewrite.Item
	encoder *remotewrite.Encoder
}

func newBatch(rw *config.RemoteWriteConfig, typeAndUnitLabels bool) *batch {
	return &batch{rw: rw, encoder: remotewrite.NewEncoder(typeAndUnitLabels)}
}

// add puts a sample into the request, and its exemplars where the destination
// gets them.
func (b *batch) add(sample remotewrite.Item, exemplars []exemplar.Exemplar) error {
	if sample.Kind != remotewrite.FloatSample && !b.rw.SendNativeHistograms {
		b.send.Histograms++
		return nil
	}
	if problem := b.problem(sample.Series.Labels); problem != "" {
		if b.send.Refused == 0 {
			b.send.Problem = problem
		}
		b.send.Refused++
	}
	b.items = append(b.items, sample)
	if b.rw.SendExemplars {
		for _, e := range exemplars {
			b.items = append(b.items, remotewrite.Item{Kind: remotewrite.Exemplar, Series: sample.Series, T: e.Ts, V: e.Value, ExemplarLabels: e.Labels})
		}
	}
	b.send.Samples++
	if len(b.items) >= b.rw.QueueConfig.MaxSamplesPerSend {
		return b.flush()
	}
	return nil
}

// problem says why an Opstrace tenant would refuse a series; empty where it would
// not, or another receiver is asked.
func (b *batch) problem(ls labels.Labels) string {
	if !tenantlabel.Asked(b.rw.URL.URL) {
		return ""
	}
	return tenantlabel.SeriesProblem(ls)
}

// flush encodes the request and forgets it.
func (b *batch) flush() error {
	if len(b.items) == 0 {
		return nil
	}
	v2 := b.rw.ProtobufMessage == remoteapi.WriteV2MessageType
	body, err := b.encoder.Encode(v2, remotewrite.Group(b.items))
	if err != nil {
		return err
	}
	b.send.Bytes += len(body)
	clear(b.items)
	b.items = b.items[:0]
	return nil
}
