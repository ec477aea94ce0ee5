package delivery

import (
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// settleDoubt finds out whether the new samples of a suspicious batch are stored,
// before these items are sent again: it sends the sample that was delivered last of a
// series which is among them. An endpoint that stored the new sample refuses the
// old one; to one that did not, it is the newest it has, and no news. See askDelivered for
// those that refuse even that.
func (d *sender) settleDoubt(ctx context.Context, items []remotewrite.Item, resent bool) error {
	d.mtx.Lock()
	s := d.doubtful
	d.mtx.Unlock()
	if s == nil || s.settled || !resent {
		return nil
	}
	s.settled = true
	taken := 0
	for _, old := range s.reminders(items, d.delivered) {
		r, err := d.sendUntilAnswered(ctx, []remotewrite.Item{old})
		if err != nil {
			return err
		}
		switch {
		case r == nil:
			taken++
		case remotewrite.AlreadyThere(r.Body):
			newer := items[slices.IndexFunc(items, func(it remotewrite.Item) bool {
				return it.T > s.after && it.Kind != remotewrite.Exemplar && labels.Equal(it.Series.Labels, old.Series.Labels)
			})]
			if err := d.ask(ctx, []remotewrite.Item{newer}); err != nil {
				return err
			}
			if r, err = d.sendUntilAnswered(ctx, []remotewrite.Item{newer}); err != nil {
				return err
			}
			stored, clear := r != nil, r != nil && r.ThereBefore()
			if r == nil {
				if stored, clear, err = d.takesAgain(ctx, newer); err != nil {
					return err
				}
			}
			switch {
			case !clear && (r == nil || r.Again):
				return nil // it is there now, perhaps; two such would look like signs that all are
			case !clear:
				continue
			case stored:
				d.learnPartial(partialStored)
			default:
				d.learnPartial(partialRolledBack)
			}
			return nil
		}
	}
	if taken > 0 {
		d.learnPartial(partialRolledBack)
	}
	return nil
}
