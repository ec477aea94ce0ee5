package delivery

import (
	"context"
	"errors"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// late sends the samples that a live queue never sends, because they are dated
// before its start.
type late struct {
	lateLabels

	encoder *remotewrite.Encoder
}

func newLate(t *destination, e *remotewrite.Endpoint) *late {
	return &late{lateLabels{t: t, e: e, keep: t.minStay}, remotewrite.NewEncoder(t.typeAndUnitLabels)}
}

// send sends items, and corrects in o, which takes them for delivered, what became
// of them. A refusal that waiting can mend is returned: the drainer will send
// them, as often as it takes.
func (l *late) send(ctx context.Context, items []remotewrite.Item, o *ledger.Outcome) error {
	for len(items) > 0 {
		n := min(len(items), l.e.BatchSize())
		if err := l.sendPart(ctx, remotewrite.Group(items[:n]), o); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

func (l *late) sendPart(ctx context.Context, items []remotewrite.Item, o *ledger.Outcome) error {
	body, err := l.encoder.Encode(l.e.V2, items)
	if err != nil {
		return err
	}
	l.t.lateSent.Store(true)
	calm, cancel := graceful(ctx)
	defer cancel()
	err = l.t.inForce().Post(calm, body, 0)
	if err == nil {
		l.t.succeeded()
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r := &remotewrite.Refusal{Err: err}
	errors.As(err, &r)
	l.t.failed(remotewrite.Kind(r.Status), r.Error())
	if r.Class() != remotewrite.Final {
		return r
	}
	n := remotewrite.Samples(items)
	o.Delivered -= n
	if reason := remotewrite.Reason(r.Status, r.Error()); len(items) == 1 {
		o.Refuse(reason, n)
	} else {
		o.Doubt(reason, n)
	}
	return nil
}
