package delivery

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"

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
// the endpoint has some of it, unless it stores the good samples of a request that it
// refuses, which is looked into first (askWitnesses). The ledger's account keeps it
// (Unordered), and delivery.json has it before the first such request.
//
// A question about a single series leaves that order for this series alone. The account
// keeps which they are (Asked): of a batch that is sent again, they go by themselves, and
// what is there of the others is found by few questions as before.
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
	switch {
	case p.asked:
		return d.ask(ctx, p.items)
	case p.late:
		return d.sendLate(ctx, d.account.Late().UpTo, d.end, true)
	}
	return d.leaveOrder(ctx, d.end)
}

// askOf is leaveOrderOf where all that is sent before others is some of the grouped items
// of a part, of few series.
func (d *sender) askOf(ctx context.Context, p *part, items []remotewrite.Item) error {
	if p.unordered && !p.asked {
		return d.leaveOrderOf(ctx, p)
	}
	return d.ask(ctx, items)
}

// ask is called before samples of a few series are sent by themselves; see leaveOrder.
func (d *sender) ask(ctx context.Context, items []remotewrite.Item) error {
	if d.storesPartialWrites() {
		return nil
	}
	told := true
	for i := range items {
		if i > 0 && items[i].Series == items[i-1].Series {
			continue
		}
		told = d.account.MayAsk(labels.StableHash(items[i].Series.Labels), d.end) && told
	}
	if told {
		return nil
	}
	return d.saveMarks(ctx)
}

// sendLate is called before late samples are sent, which are dated up to a time, in
// milliseconds; unordered: in another order than their own. See leaveOrder.
func (t *destination) sendLate(ctx context.Context, upTo int64, to backlog.Position, unordered bool) error {
	if t.storesPartialWrites() || t.account.MaySendLate(upTo, to, unordered) {
		return nil
	}
	return t.saveMarks(ctx)
}

// wasRefused is called behind samples that were refused for good, up to a position, before
// what comes behind them is sent. It returns an error when ctx ends first. Newer samples of
// their series make an endpoint refuse them as if they were there.
func (t *destination) wasRefused(ctx context.Context, to backlog.Position) error {
	if t.account.WasRefused(to) {
		return nil
	}
	return t.saveMarks(ctx)
}

func (t *destination) storesPartialWrites() bool { return t.partialWrites() == partialStored }

// aside returns the samples of series that were asked about, of a part that is sent again,
// and the others, which have an order among themselves.
func (p part) aside(a ledger.Asked) (asked, others part) {
	known := map[*remotewrite.Series]bool{}
	at := partition(p.items, func(it *remotewrite.Item) bool {
		is, seen := known[it.Series]
		if !seen {
			is = a.Has(labels.StableHash(it.Series.Labels))
			known[it.Series] = is
		}
		return is
	})
	asked, others = p.of(p.items[:at]), p.of(p.items[at:])
	asked.asked, asked.unordered = true, true
	if !p.before { // of what was not sent, these may have been all the same
		asked.before, asked.resent, asked.perhaps = true, true, true
	}
	return asked, others
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
