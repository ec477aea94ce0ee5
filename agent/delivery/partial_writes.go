package delivery

import (
	"context"
	"slices"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

const (
	// mostAsked is of how many series of a batch samples are asked about that were
	// delivered before.
	mostAsked = 3
	// mostInconclusive is after how many batches the question is given up.
	mostInconclusive = 3
	// mostTried is how many series of a batch are asked about: in order, until two
	// agree, or all, where somebody else may write ahead of us in some. One that is
	// refused for what it is costs one request.
	mostTried = 8
)

// askPartial finds out what an endpoint did with the good samples of a request
// that it refused, and reports whether they are stored. It sends an older sample
// of a series whose newer one was in the request too: an endpoint that stored
// the newer one refuses the older; one that rolled back takes it, and the newer
// one after it. With no such pair, it asks about samples that were delivered before.
// Where that tells nothing either, splitting tells the samples apart in either case.
// What is taken leaves the part, as delivered.
func (d *sender) askPartial(ctx context.Context, p *part, s *search, o *ledger.Outcome) (there bool, err error) {
	s.asked = true
	if p.before {
		return d.askInOrder(ctx, p, s, o)
	}
	pairs := spread(olderOfPairs(p.items, len(p.items)), mostTried)
	older, unclear := 0, false
	// From the last, so that what leaves the part moves none that is yet to be asked.
	for _, i := range slices.Backward(pairs) {
		newer := newerOf(p.items, i)
		r, err := d.sendOf(ctx, p, i, i+1, s, o)
		if err != nil {
			return false, err
		}
		if r != nil {
			// Perhaps for what it is, or because somebody else writes ahead of us in
			// this one series: so the others are asked as well.
			if r.ThereBefore() {
				older++
			}
			continue
		}
		r, err = d.sendOf(ctx, p, i, newer, s, o)
		switch {
		case err != nil:
			return false, err
		case r == nil: // it is good, and was not there: that outweighs any refusal
			d.learnPartial(partialRolledBack)
			return false, nil
		case remotewrite.AlreadyThere(r.Body):
			unclear = true // else it is refused for what it is, and tells nothing
		}
	}
	switch {
	case len(pairs) == 0:
		return false, d.askDelivered(ctx, p, s, o)
	case older > 0 && !unclear:
		d.learnPartial(partialStored)
	default:
		// Not told. If it stores them, the parts of this one are there already.
		d.inconclusive++
		p.before = true
	}
	return false, nil
}

// askDelivered is askPartial by samples that were delivered before the part, of
// series of which it has a newer one: an endpoint that stored that refuses the older;
// to one that did not, it is the newest, and no news. Where it is refused, the newer one is
// sent as well: an endpoint that takes that, and not once more, refused the older as it takes
// nothing again.
func (d *sender) askDelivered(ctx context.Context, p *part, s *search, o *ledger.Outcome) error {
	if !d.own {
		return nil
	}
	there := false
	old := newerIn(p.items, slices.Clone(d.delivered), mostAsked)
	for _, old := range old {
		r, err := d.sendUntilAnswered(ctx, []remotewrite.Item{old})
		switch {
		case err != nil:
			return err
		case r == nil:
			d.learnPartial(partialRolledBack)
			return nil
		case !remotewrite.AlreadyThere(r.Body):
			continue
		}
		i := slices.IndexFunc(p.items, func(it remotewrite.Item) bool {
			return it.Series == old.Series && it.T > old.T && it.Kind != remotewrite.Exemplar
		})
		newer := p.items[i]
		if r, err = d.sendOf(ctx, p, i, i+1, s, o); err != nil {
			return err
		}
		if r == nil {
			again, clear, err := d.takesAgain(ctx, newer)
			switch {
			case err != nil:
				return err
			case clear && !again:
				d.learnPartial(partialRolledBack)
				return nil
			}
			there = there || again
			continue
		}
		there = there || r.ThereBefore()
	}
	switch {
	case there:
		d.learnPartial(partialStored)
	case len(old) > 0:
		d.inconclusive++
	}
	return nil
}

// sendOf sends items of a part by themselves. If they are taken (nil), they are
// delivered and leave the part: sent again behind a newer one of their series,
// they would be refused. So does one that may have been taken by an attempt that was not
// answered, and may be older than what is there: refused when it comes again, it would look
// like a sign that others are there.
func (d *sender) sendOf(ctx context.Context, p *part, from, to int, s *search, o *ledger.Outcome) (*remotewrite.Refusal, error) {
	if err := d.askOf(ctx, p, p.items[from:to]); err != nil {
		return nil, err
	}
	r, err := d.sendUntilAnswered(ctx, p.items[from:to])
	if err != nil {
		return nil, err
	}
	there := r != nil && r.Again && remotewrite.AlreadyThere(r.Body)
	switch n := remotewrite.Samples(p.items[from:to]); {
	case r == nil:
		s.took()
		o.Delivered += n
	case there && to-from > 1: // some may have been there before, and the others not be
		return r, nil
	case there && (s.unproven || p.perhaps || !p.before): // or older, as somebody else writes ahead of us
		o.Doubt(remotewrite.OutOfOrder, n)
	case there:
		o.Delivered += n
	default:
		return r, nil
	}
	p.items = slices.Concat(p.items[:from], p.items[to:])
	return r, nil
}

// newerOf returns the index of the first sample in grouped items that is newer
// than the one at i, of the same series. There is one; see olderOfPairs.
func newerOf(items []remotewrite.Item, i int) int {
	j := i + 1
	for items[j].T == items[i].T {
		j++
	}
	return j
}

// askInOrder is askPartial for samples of which earlier requests may have stored
// the first ones, so that an old one may be refused for another that is there
// already. If the last sample of the batch is there, all before it is there as
// well, because requests come in order; how the endpoint treats partial writes is
// not told by it. That somebody else writes ahead of us in its series would look
// the same: so another series has to agree.
func (d *sender) askInOrder(ctx context.Context, p *part, s *search, o *ledger.Outcome) (there bool, err error) {
	from, to := runUpTo(p.items, p.last)
	switch to - from {
	case 0:
		return false, nil
	case 1:
		return d.askSingles(ctx, p, from, s, o)
	}
	agreed := 0
	var tried []*remotewrite.Series
	for len(tried) < mostTried && agreed < 2 && from < to {
		tried = append(tried, p.items[from].Series)
		there, clear, err := d.askRun(ctx, p, from, to, s, o)
		switch {
		case err != nil || clear && !there:
			return false, err
		case there:
			agreed++
		}
		from, to = nextRun(p, tried)
	}
	if agreed == 0 {
		d.inconclusive++
	}
	if agreed == 1 && from == to {
		return d.askAnother(ctx, p, tried, s, o)
	}
	return agreed == 2, nil
}

// askSingles is askInOrder where the last sample of the batch, at at, is the only one of
// its series: a batch has one scrape, or a part of it. It sends it by itself, which
// overtakes none. That it is refused tells that newer ones are there, and so it is.
// That it is taken tells nothing: an endpoint takes the newest that it has once more.
func (d *sender) askSingles(ctx context.Context, p *part, at int, s *search, o *ledger.Outcome) (there bool, err error) {
	r, err := d.sendOf(ctx, p, at, at+1, s, o)
	if err != nil || r == nil {
		return false, err
	}
	if !r.ThereBefore() {
		return false, nil
	}
	return d.askAnother(ctx, p, []*remotewrite.Series{p.items[at].Series}, s, o)
}

// askAnother looks for a second witness that what a part has is there: the only sample of
// another series, from all over the part, because series that somebody else writes often
// come together. Without one, the first, which is of a series that was tried, is not
// believed.
func (d *sender) askAnother(ctx context.Context, p *part, tried []*remotewrite.Series, s *search, o *ledger.Outcome) (there bool, err error) {
	if oneSeries(p.items) {
		return true, nil
	}
	for k := 1; k < mostTried; k++ {
		at := singleFrom(p.items, len(p.items)*k/mostTried, p.last.T)
		if at == len(p.items) {
			return false, nil
		}
		if slices.Contains(tried, p.items[at].Series) {
			continue
		}
		r, err := d.sendOf(ctx, p, at, at+1, s, o)
		if err != nil || r == nil {
			return false, err
		}
		if r.ThereBefore() {
			return true, nil
		}
	}
	return false, nil
}

// singleFrom returns the first index not below at of a sample, not newer than a time,
// that is the only one of its series in grouped items; their number if there is none.
func singleFrom(items []remotewrite.Item, at int, newest int64) int {
	for ; at < len(items); at++ {
		series := items[at].Series
		alone := (at == 0 || items[at-1].Series != series) && (at+1 == len(items) || items[at+1].Series != series)
		if alone && items[at].Kind != remotewrite.Exemplar && items[at].T <= newest {
			return at
		}
	}
	return at
}

// nextRun returns the run to be asked about after some were: of another part of the
// batch, because series that are refused for the same often come together.
func nextRun(p *part, tried []*remotewrite.Series) (from, to int) {
	at := len(p.items) * len(tried) / mostTried
	for at > 0 && at < len(p.items) && p.items[at].Series == p.items[at-1].Series {
		at++
	}
	if from, to = otherRun(p.items[at:], p.last, tried...); from < to {
		return at + from, at + to
	}
	return otherRun(p.items, p.last, tried...)
}

// askRun reports whether the newest of the samples of one series in a part is there. It
// sends them in their order. The first that is taken tells that no newer one is there, and
// has overtaken none; it leaves the part, with the older ones, which are there: one of these,
// refused for it, would tell that the next is there. If all are refused, the newest is there.
// If the newest alone is taken, it may be for the second time: see takesAgain. A series that
// is refused for something else makes nothing clear.
func (d *sender) askRun(ctx context.Context, p *part, from, to int, s *search, o *ledger.Outcome) (there, clear bool, err error) {
	for i := from; i < to; {
		item := p.items[i]
		r, err := d.sendOf(ctx, p, i, i+1, s, o)
		switch {
		case err != nil:
			return false, false, err
		case r != nil && !remotewrite.AlreadyThere(r.Body):
			return false, false, nil
		case r != nil && r.Again: // and has left the part
			if to--; i == to {
				return false, false, nil
			}
			continue
		case r != nil:
			i++
			continue
		}
		older := remotewrite.Samples(p.items[from:i])
		if s.unproven || p.perhaps {
			o.Doubt(remotewrite.OutOfOrder, older)
		} else {
			o.Delivered += older
		}
		p.items = slices.Concat(p.items[:from], p.items[i:])
		if i == to-1 {
			if again, clear, err := d.takesAgain(ctx, item); err != nil || again || !clear {
				return again, again, err
			}
		}
		d.learnPartial(partialRolledBack)
		return false, true, nil
	}
	return true, true, nil
}

// takesAgain reports whether the endpoint takes a sample that it has taken a moment ago once
// more, and stores nothing, as Prometheus and Cortex do with the newest of a series. The
// storage of upstream's agent, and of others that are made of it, refuses it as out of order:
// that it takes one tells that it did not have it. It is not clear where it is refused for
// something else.
func (d *sender) takesAgain(ctx context.Context, item remotewrite.Item) (again, clear bool, err error) {
	r, err := d.sendUntilAnswered(ctx, []remotewrite.Item{item})
	if err != nil {
		return false, false, err
	}
	return r == nil, r == nil || remotewrite.AlreadyThere(r.Body), nil
}

// otherRun returns the bounds of the samples of another series than last's and those
// tried, in grouped items, that are not newer than last, two at least: of the series that
// go on for longest, the one with the fewest samples, each of which may cost a
// request. They are the same if there is none.
func otherRun(items []remotewrite.Item, last remotewrite.Item, tried ...*remotewrite.Series) (from, to int) {
	for begin, end := 0, 0; begin < len(items); begin = end {
		series := items[begin].Series
		for end < len(items) && items[end].Series == series {
			end++
		}
		f, t := runUpTo(items[begin:end], remotewrite.Item{Series: series, T: last.T})
		f, t = f+begin, t+begin
		if series == last.Series || t-f < 2 || slices.Contains(tried, series) {
			continue
		}
		if to == from || items[t-1].T > items[to-1].T || items[t-1].T == items[to-1].T && t-f < to-from {
			from, to = f, t
		}
	}
	return from, to
}

// spread returns n of some indices, from all over them.
func spread(indices []int, n int) []int {
	if len(indices) <= n {
		return indices
	}
	out := make([]int, n)
	for i := range out {
		out[i] = indices[i*len(indices)/n]
	}
	return out
}

// partialWrites is what is known of the endpoint.
func (t *destination) partialWrites() partialWrites {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	return t.machine.partial
}

// learnStored is learnPartial where several series agree that they are stored, each of which
// had a sample taken just before: that is good for the next run, too. Refusals alone are not,
// as a twin of this agent may be ahead of it in all series.
func (t *destination) learnStored() {
	t.learnPartial(partialStored)
	t.account.SetStoresPartial(version(t.inForce()))
}

func (t *destination) learnPartial(p partialWrites) {
	if p != partialStored {
		t.account.SetStoresPartial("")
	}
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.machine.partial = p
	t.doubtful = nil
}
