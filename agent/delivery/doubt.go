package delivery

import (
	"context"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// remembered is how many series a drainer remembers the last sample of.
const remembered = 16

// remember returns the last sample of some series of what was delivered, in the
// place of what was remembered before: none after a refusal, since the endpoint need
// not have the last one then, and would refuse it as it did before.
func remember(before, grouped []remotewrite.Item, refused bool) []remotewrite.Item {
	if len(grouped) == 0 {
		return before
	}
	kept := before[:0]
	if refused {
		return kept
	}
	for i, it := range grouped {
		last := i+1 == len(grouped) || grouped[i+1].Series != it.Series
		if last && it.Kind != remotewrite.Exemplar && len(kept) < remembered {
			kept = append(kept, it)
		}
	}
	return kept
}

// settleDoubt finds out whether the new samples of a suspicious batch are stored,
// before these items are sent again: it sends the sample that was delivered last of a
// series which is among them. An endpoint that stored the new sample refuses the
// old one; to one that did not, it is the newest it has, and no news.
func (d *sender) settleDoubt(ctx context.Context, items []remotewrite.Item, resent bool, delivered []remotewrite.Item) error {
	d.mtx.Lock()
	s := d.doubtful
	d.mtx.Unlock()
	if s == nil || s.settled || !resent {
		return nil
	}
	s.settled = true
	taken := 0
	for _, old := range s.reminders(items, delivered) {
		r, err := d.sendUntilAnswered(ctx, []remotewrite.Item{old})
		if err != nil {
			return err
		}
		switch {
		case r == nil:
			taken++
		case remotewrite.AlreadyThere(r.Body):
			d.learnPartial(partialStored)
			return nil
		}
	}
	if taken > 0 {
		d.learnPartial(partialRolledBack)
	}
	return nil
}
