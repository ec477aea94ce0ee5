package delivery

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// # The order of what is sent
//
// What a run has sent of a batch when it ends, the next one does not know. It sends the
// batch again, and an endpoint that takes all or nothing refuses it for the samples that
// are there. As long as samples were sent in the order of the WAL, those are the first of
// the batch, and few questions tell where they end (askInOrder). So what is only too large
// for one request is cut in that order (splitOrder).
//
// To find a bad sample, though, parts and single samples are sent out of that order. Then
// nothing follows from one sample for another but in its own series, whose samples always
// go in their order; a batch of which that may be so is split down to single samples where
// the endpoint has some of it. The ledger's account keeps it (Unordered), and
// delivery.json has it before the first such request.
//
// Late samples go beside what a live queue sends. Their time alone tells which they are,
// and both they and what the queue sends are in the order of the WAL by themselves. So the
// account keeps the time (Late), and a batch that is sent again is cut in two. If late ones
// are refused, or to be split, only they are in no order any more (Late.Unordered).

// leaveOrder is called before a request with anything else than the first of what was not
// sent yet, up to a position. It returns an error when ctx ends first. An endpoint that
// stores the good samples of a request that it refuses has all of a batch that is sent
// again, in whatever order they came before.
func (t *destination) leaveOrder(ctx context.Context, to backlog.Position) error {
	if t.storesPartialWrites() || t.account.MaySendUnordered(to) {
		return nil
	}
	return t.saveMarks(ctx)
}

// leaveOrderOf is leaveOrder for a part.
func (d *sender) leaveOrderOf(ctx context.Context, p *part) error {
	if p.late {
		return d.sendLate(ctx, d.account.Late().UpTo, d.end, true)
	}
	return d.leaveOrder(ctx, d.end)
}

// sendLate is called before late samples are sent, which are dated up to a time, in
// milliseconds; unordered: in another order than their own. See leaveOrder.
func (t *destination) sendLate(ctx context.Context, upTo int64, to backlog.Position, unordered bool) error {
	if t.storesPartialWrites() || t.account.MaySendLate(upTo, to, unordered) {
		return nil
	}
	return t.saveMarks(ctx)
}

func (t *destination) storesPartialWrites() bool {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	return t.machine.partial == partialStored
}

// apart returns a part that is sent again as what has an order among itself: of each
// series, what is late is older, and comes first.
func (p part) apart(l ledger.Late) []part {
	at := partitionWithSamples(p.items, func(it *remotewrite.Item) bool { return it.T <= l.UpTo })
	late, others := p.of(p.items[:at]), p.of(p.items[at:])
	late.late, late.unordered = true, l.Unordered
	// Their times say nothing of their order.
	late.last = lastInOrder(late.items, math.MaxInt64)
	others.last = lastInOrder(others.items, time.Now().UnixMilli())
	return slices.DeleteFunc([]part{late, others}, func(p part) bool { return len(p.items) == 0 })
}
