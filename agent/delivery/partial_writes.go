package delivery

import (
	"context"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

const (
	// mostAsked is how many series of a batch are asked about.
	mostAsked = 3
	// mostInconclusive is after how many batches the question is given up.
	mostInconclusive = 3
)

// askPartial finds out what an endpoint did with the good samples of a request
// that it refused, and reports whether they are stored. It sends an older sample
// of a series whose newer one was in the request too: an endpoint that stored
// the newer one refuses the older; one that rolled back takes it. With no such
// pair, splitting tells the samples apart in either case, so nothing need be known.
func (d *sender) askPartial(ctx context.Context, p *part, s *search) (there bool, err error) {
	s.asked = true
	if p.before {
		return d.askInOrder(ctx, p)
	}
	pairs := olderOfPairs(p.items, mostAsked)
	taken := 0
	// The newer sample of a series may itself have been refused: so another series
	// is asked about, until one is refused so.
	for _, i := range pairs {
		r, err := d.sendUntilAnswered(ctx, p.items[i:i+1])
		if err != nil {
			return false, err
		}
		switch {
		case r == nil:
			taken++
		case remotewrite.AlreadyThere(r.Body):
			d.learnPartial(partialStored)
			return false, nil
		}
	}
	switch {
	case len(pairs) == 0:
	case taken == len(pairs):
		d.learnPartial(partialRolledBack)
	default:
		// Not told. If it stores them, the parts of this one are there already.
		d.inconclusive++
		p.before = true
	}
	return false, nil
}

// askInOrder is askPartial for samples of which earlier requests may have stored
// the first ones, so that an old one may be refused for another that is there
// already. It sends those of the series of the last sample of the batch, but for
// this one, in their order: the first that is taken tells that no newer one is
// there, and has overtaken none. If all are refused, the last of the batch is
// there. Requests come in order, so all before it is there as well; how the
// endpoint treats partial writes is not told by it.
func (d *sender) askInOrder(ctx context.Context, p *part) (there bool, err error) {
	from, to := runUpTo(p.items, p.last)
	if to-from < 2 {
		return false, nil
	}
	for i := from; i < to-1; i++ {
		r, err := d.sendUntilAnswered(ctx, p.items[i:i+1])
		if err != nil {
			return false, err
		}
		switch {
		case r == nil:
			d.learnPartial(partialRolledBack)
			return false, nil
		case !remotewrite.AlreadyThere(r.Body):
			d.inconclusive++
			return false, nil
		}
	}
	return true, nil
}

func (t *destination) learnPartial(p partialWrites) {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.machine.partial = p
	t.doubtful = nil
}
