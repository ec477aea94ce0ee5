package delivery

import (
	"context"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
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
// Samples that are taken are entered in o, and leave the part.
func (d *sender) askPartial(ctx context.Context, p *part, s *search, o *ledger.Outcome) (there bool, err error) {
	s.asked = true
	if p.before {
		return d.askInOrder(ctx, p)
	}
	pairs := olderOfPairs(p.items, mostAsked)
	var taken []int
	// They are the oldest of their series, so that what is left overtakes nothing.
	defer func() {
		o.Delivered += uint64(len(taken))
		p.items = without(p.items, taken)
	}()
	// The newer sample of a series may itself have been refused: so another series
	// is asked about, until one is refused so.
	for _, i := range pairs {
		r, err := d.sendUntilAnswered(ctx, p.items[i:i+1])
		if err != nil {
			return false, err
		}
		switch {
		case r == nil:
			taken = append(taken, i)
		case remotewrite.AlreadyThere(r.Body):
			d.learnPartial(partialStored)
			return false, nil
		}
	}
	switch {
	case len(pairs) == 0:
	case len(taken) == len(pairs):
		d.learnPartial(partialRolledBack)
	default:
		// Not told. If it stores them, the parts of this one are there already.
		d.inconclusive++
		p.before = true
	}
	return false, nil
}

// without returns items without those of some ascending indices.
func without(items []remotewrite.Item, indices []int) []remotewrite.Item {
	if len(indices) == 0 {
		return items
	}
	kept := make([]remotewrite.Item, 0, len(items))
	from := 0
	for _, i := range indices {
		kept = append(kept, items[from:i]...)
		from = i + 1
	}
	return append(kept, items[from:]...)
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
