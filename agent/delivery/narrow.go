package delivery

import (
	"context"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// mostNarrowing bounds the requests with which the refused series of one batch are
// looked for. What is left open is uncertain; with those that were found out of the
// way, the next batch tells more.
const mostNarrowing = 64

// narrow finds out which series of a part are refused, at an endpoint that has
// stored the good samples of it; known: the older ones of each series as well, if it
// has the newest. It sends the newest sample of each again: that overtakes none, and
// is taken as the duplicate that it is. Those of many series go in one request, which
// is halved where it is refused. Of several series, an answer may be about any, so
// only one about a single series counts against it.
func (d *sender) narrow(ctx context.Context, p *part, e event, known bool, s *search, o *ledger.Outcome) error {
	reason := s.reason
	if d.unwanted.full() && !e.there { // what was found out would not be remembered
		o.Doubt(reason, remotewrite.Samples(p.items))
		return nil
	}
	// Where the older samples of a series may not be there, its newest must not overtake them.
	whole := e.there && !known && !d.storesPartialWrites()
	if whole {
		if err := d.leaveOrderOf(ctx, p); err != nil {
			return err
		}
	}
	n := newNarrowing(p.items, !e.there)
	for {
		at, more := n.next()
		if !more {
			return nil
		}
		ask, err := d.worthAsking(ctx, p, n, s)
		if err != nil {
			return err
		}
		heads, others := n.samples(at)
		if !ask {
			o.Doubt(reason, heads+others)
			continue
		}
		n.asked++
		items := n.heads(at)
		if whole {
			items = n.whole(at)
		}
		if whole && at.one() {
			n.asked += len(items) - 1
			if err := d.oldestFirst(ctx, p.of(items), s, o); err != nil {
				return err
			}
			continue
		}
		r, err := d.sendUntilAnswered(ctx, items)
		switch {
		case err != nil:
			return err
		case r == nil || p.before && !s.unproven && remotewrite.AlreadyThere(r.Body):
			s.took()
			n.taken(at)
			o.Delivered += heads
			if known || whole {
				o.Delivered += others
			} else {
				o.Doubt(reason, others)
			}
		case !at.one():
			s.refusals++
			n.halve(at)
		default:
			s.refusals++
			d.refusedAlone(p, n.items[n.runs[at.from].head], others, r, s, o)
		}
	}
}

// refusedAlone counts the samples of a series of which the newest is refused by
// itself, and so many others with it.
func (d *sender) refusedAlone(p *part, head remotewrite.Item, others uint64, r *remotewrite.Refusal, s *search, o *ledger.Outcome) {
	d.failed(remotewrite.Kind(r.Status), r.Error())
	s.because(r)
	s.name(head.Series, r)
	s.refuse(p, o, 1)
	if remotewrite.AboutSeries(r.Body) || remotewrite.OutOfWindow(r.Body) && !p.before {
		s.refuse(p, o, others)
		return
	}
	o.Doubt(s.reason, others)
}

// worthAsking reports whether one more request is. An endpoint that has refused many
// in a row is asked about one series that ends when most do: if that is refused as
// well, it refuses everything.
func (d *sender) worthAsking(ctx context.Context, p *part, n *narrowing, s *search) (bool, error) {
	switch {
	case n.asked >= mostNarrowing || s.hopeless():
		return false, nil
	case s.taken || !s.vain():
		return true, nil
	}
	s.oneAsked = true
	n.asked++
	_, to := typicalSeries(p.items)
	r, err := d.sendUntilAnswered(ctx, p.items[to-1:to])
	if err == nil && (r == nil || p.before && remotewrite.AlreadyThere(r.Body)) {
		s.took()
	}
	return s.taken, err
}
