package delivery

import (
	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// suspicion is what is left open when an endpoint refuses a batch of the live
// queue of which it has some samples already, delivered before the hand-over,
// while others were new: whether it stored those.
type suspicion struct {
	// at is where the hand-over was; what comes behind it was new.
	at backlog.Position
	// items is how many of those behind it were in the batch, at least.
	items int
	// after is the time, in milliseconds, up to which the queue sends nothing.
	after int64
	// settled: it has been tried to settle it.
	settled bool
}

// blocks reports whether a hand-over would only raise the same doubt again: the
// WAL is still in the segment whose samples are sent again.
func (s *suspicion) blocks(store *backlog.Store) bool {
	if s == nil || !s.settled {
		return false
	}
	end := store.End()
	return end.Generation == s.at.Generation && end.Segment == s.at.Segment
}

// reminders returns the samples that were delivered last of series of which a
// newer one was in the suspicious batch.
func (s *suspicion) reminders(items, delivered []remotewrite.Item) (out []remotewrite.Item) {
	newer := map[uint64]labels.Labels{}
	for _, it := range items[:min(s.items, len(items))] {
		if it.Kind != remotewrite.Exemplar && it.T > s.after {
			newer[it.Series.Labels.Hash()] = it.Series.Labels
		}
	}
	for _, old := range delivered {
		lset, ok := newer[old.Series.Labels.Hash()]
		if ok && labels.Equal(lset, old.Series.Labels) && len(out) < mostAsked {
			out = append(out, old)
		}
	}
	return out
}
