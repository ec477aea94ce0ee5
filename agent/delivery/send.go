package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

const (
	// batchFactor is how many times max_samples_per_send a request of the backlog holds:
	// grouped by series, a request of thousands of samples costs less than half a byte on
	// the wire for what else takes two.
	batchFactor = 5
	// enoughOfSeries is how many samples there are to be of each series: with fewer, most of
	// a request is labels. largestFactor bounds what that leads to where there are many
	// series, as batchFactor does where there are few.
	enoughOfSeries = 3
	largestFactor  = 15
)

// sender makes the requests of one drainer, and knows what these have taught.
type sender struct {
	*destination

	encoder *remotewrite.Encoder
	pace    pace
	// budget is how many requests for parts of one batch may be refused in vain;
	// see mostInVain.
	budget int
	// inconclusive counts the batches with which it was tried in vain to find out
	// what the endpoint does with partial writes.
	inconclusive int
	// delivered are the last samples of some series that were acknowledged; own,
	// that no queue has sent newer ones since.
	delivered []remotewrite.Item
	own       bool
	unwanted  unwanted
	// end is where the batch ends that is being sent.
	end backlog.Position
}

func newSender(t *destination, delivered []remotewrite.Item) *sender {
	t.mtx.Lock()
	t.leftOut, t.whyLeftOut = 0, ""
	refused := t.seriesRefused
	t.mtx.Unlock()
	return &sender{
		destination: t,
		encoder:     remotewrite.NewEncoder(t.typeAndUnitLabels),
		budget:      mostInVain,
		delivered:   delivered,
		unwanted:    unwanted{pause: askPause * t.minStay, met: refused},
	}
}

// send makes one request. A refusal is what the endpoint answered; an error,
// that there was nothing to send.
func (d *sender) send(ctx context.Context, items []remotewrite.Item, attempt int) (*remotewrite.Refusal, error) {
	e := d.inForce()
	body, err := d.encoder.Encode(e.V2, items)
	if err != nil {
		return nil, err
	}
	d.breathe()
	err = e.Post(ctx, body, attempt)
	var r *remotewrite.Refusal
	if errors.As(err, &r) {
		return r, nil
	}
	return nil, err
}

// sendUntilAnswered sends items until they are acknowledged (nil) or refused for
// good.
func (d *sender) sendUntilAnswered(ctx context.Context, items []remotewrite.Item) (*remotewrite.Refusal, error) {
	again := false
	for attempt := 0; ; attempt++ {
		r, err := d.send(ctx, items, attempt)
		switch {
		case ctx.Err() != nil && (err != nil || r != nil):
			return nil, ctx.Err()
		case err != nil: // not even encoded
			return &remotewrite.Refusal{Err: err}, nil
		case r == nil:
			d.succeeded()
			d.remember(items)
			return nil, nil
		}
		r.Again = again
		again = again || remotewrite.MayHaveStored(r.Status, r.Error())
		switch r.Class() {
		case remotewrite.Final, remotewrite.NotHeld:
			return r, nil
		case remotewrite.TooLarge:
			if len(items) > 1 || large(items) {
				return r, nil
			}
		}
		d.failed(remotewrite.Kind(r.Status), r.Error())
		if !d.pause(ctx, d.backoff(attempt, r)) {
			return nil, ctx.Err()
		}
	}
}

func (d *sender) backoff(attempt int, r *remotewrite.Refusal) time.Duration {
	e := d.inForce()
	shortest, longest := r.Pauses(e.MinBackoff, e.MaxBackoff)
	return remotewrite.Backoff(attempt, shortest, longest, r.RetryAfter)
}
