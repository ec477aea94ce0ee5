package delivery

import (
	"context"
	"errors"
	"time"

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
// them, as often as it takes. After any other, goOn is called before what comes behind
// is sent, and may return an error to end it.
func (l *late) send(ctx context.Context, items []remotewrite.Item, o *ledger.Outcome, goOn func() error) error {
	for len(items) > 0 {
		n := min(len(items), l.e.BatchSize())
		if err := l.sendPart(ctx, remotewrite.Group(items[:n]), o, goOn); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

func (l *late) sendPart(ctx context.Context, items []remotewrite.Item, o *ledger.Outcome, goOn func() error) error {
	body, err := l.encoder.Encode(l.e.V2, items)
	if err != nil {
		return err
	}
	l.t.lateSent.Store(true)
	r, err := l.post(ctx, body)
	if r == nil || err != nil {
		return err
	}
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
	return goOn()
}

// mostLate is how many times the same late samples are sent to an endpoint that has had
// too much at once: with the pauses of a queue, it takes some seconds. A destination that
// went behind for one such refusal would stay so for long.
const mostLate = 8

// post returns nil when body is acknowledged, a refusal when it is not, and an error when
// ctx ends first.
func (l *late) post(ctx context.Context, body []byte) (*remotewrite.Refusal, error) {
	calm, cancel := graceful(ctx)
	defer cancel()
	q := l.e.Config.QueueConfig
	for attempt := 0; ; attempt++ {
		err := l.t.inForce().Post(calm, body, attempt)
		if err == nil {
			l.t.succeeded()
			return nil, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r := &remotewrite.Refusal{Err: err}
		errors.As(err, &r)
		l.t.failed(remotewrite.Kind(r.Status), r.Error())
		if !r.TooFast() || attempt+1 == mostLate || r.RetryAfter > time.Duration(q.MaxBackoff) {
			return r, nil
		}
		if !l.t.pause(ctx, remotewrite.Backoff(attempt, time.Duration(q.MinBackoff), time.Duration(q.MaxBackoff), r.RetryAfter)) {
			return nil, ctx.Err()
		}
	}
}
