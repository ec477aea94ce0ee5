package delivery

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// deliver sends a part, again and again or in smaller parts, until the endpoint
// has acknowledged every sample or it is given up, and enters in o what became of
// them. It returns an error when ctx ends first.
func (d *sender) deliver(ctx context.Context, p part, s *search, o *ledger.Outcome) error {
	if len(p.items) == 0 {
		return nil
	}
	if s.hopeless() {
		s.refuse(&p, o, remotewrite.Samples(p.items))
		return nil
	}
	if len(p.items) > d.most() { // since a 413 for what came before it, or memory is short
		return d.inOrder(ctx, p, math.MaxUint32, p.resent, s, o)
	}
	inRow := 0
	for attempt := p.failed; ; attempt++ {
		if d.probes(attempt, len(p.items)) {
			p.failed = attempt
			return d.inOrder(ctx, p, probeItems, p.resent, s, o)
		}
		wait := max(d.catchUp.delay(len(p.items)), d.pace.delay(len(p.items), time.Now()))
		if wait > 0 && !d.pause(ctx, wait) {
			return ctx.Err()
		}
		r, err := d.send(ctx, p.items, attempt)
		switch {
		case ctx.Err() != nil && (err != nil || r != nil):
			return ctx.Err()
		case err != nil:
			// It cannot even be encoded: sending it again cannot help.
			d.failed("encode", err.Error())
			o.Refuse("encoding", remotewrite.Samples(p.items))
			return nil
		case r == nil:
			d.succeeded()
			d.fits(len(p.items))
			d.pace.acknowledged(len(p.items), time.Now())
			d.on(event{kind: acknowledged})
			s.took()
			d.remember(p.items)
			o.Delivered += remotewrite.Samples(p.items)
			return nil
		}
		if e := r.Class(); remotewrite.Samples(p.items) == 0 && (e == remotewrite.Final || e == remotewrite.NotHeld || errors.Is(r, remotewrite.ErrNothingWritten)) {
			return nil // exemplars alone are not worth more, and are in no ledger
		}
		d.failed(remotewrite.Kind(r.Status), r.Error())
		if r.TooFast() {
			d.pace.tooFast(time.Now())
		} else {
			d.pace.interrupted()
		}
		done, err := d.answered(ctx, &p, r, s, o)
		if done || err != nil {
			return err
		}
		if inRow++; !r.TooFast() && r.Class() != remotewrite.Unanswered {
			inRow = 0
		}
		pause := d.backoff(attempt, r)
		if inRow >= tooMuch && s.taken && len(p.items) > 2*probeItems {
			p.failed = attempt
			return d.smaller(ctx, p, pause, s, o)
		}
		if !d.pause(ctx, pause) {
			return ctx.Err()
		}
	}
}

// tooMuch is after how many refusals by rate, or without an answer, in a row a part is too
// much at once, if some of its batch was taken before: a limit by tokens (Cortex:
// ingestion_burst_size) refuses for ever what is more than its bucket holds, and over a slow
// link a large request takes longer than remote_timeout, each time.
const tooMuch = 3

// answered does what the machine says about an answer that is not an
// acknowledgement. done: nothing is left to do for this part.
func (d *sender) answered(ctx context.Context, p *part, r *remotewrite.Refusal, s *search, o *ledger.Outcome) (done bool, err error) {
	n := remotewrite.Samples(p.items)
	e := s.judge(p, r)
	for {
		switch d.on(e).do {
		case settle:
			d.remember(p.items)
			o.Delivered += n
			return true, nil
		case giveUp:
			if e.alone && e.class == remotewrite.Final {
				s.name(p.items[0].Series, r)
			}
			s.refuse(p, o, n)
			return true, nil
		case doubt:
			s.gaveUp = true
			o.Doubt(s.reason, n)
			return true, nil
		case narrow:
			// Whether older samples were stored with the newest is known only where the
			// refusal was about series, or for what is there, and none of it was refused before.
			return true, d.narrow(ctx, p, e, (e.series || e.there) && !s.unproven, s, o)
		case shrink:
			return true, d.smaller(ctx, *p, d.backoff(d.tooLargeInRow(), r), s, o)
		case askEmpty:
			e.emptyAsked, e.othersPass = true, d.askEmpty(ctx)
		case askPartial:
			asked := len(p.items)
			there, err := d.askPartial(ctx, p, s, o)
			if err != nil {
				return true, err
			}
			if left := len(p.items); left < asked && left < 2 {
				return true, d.deliver(ctx, *p, s, o) // the answer may have been about others
			}
			n = remotewrite.Samples(p.items)
			if there {
				return true, d.narrow(ctx, p, e, !s.unproven, s, o)
			}
			e.asked, e.before, e.alone = true, p.before, len(p.items) == 1
		case askOne:
			asked := len(p.items)
			if err := d.askOne(ctx, p, s, o); err != nil {
				return true, err
			}
			if left := len(p.items); left < asked && left == 1 && !s.hopeless() {
				return true, d.deliver(ctx, *p, s, o) // the answer may have been about others
			}
			n = remotewrite.Samples(p.items)
			if s.hopeless() || len(p.items) == 0 {
				s.refuse(p, o, n)
				return true, nil
			}
			e.oneAsked, e.vain, e.alone = true, s.vain(), len(p.items) == 1
		case split:
			if oneSeries(p.items) && !e.there && !e.outOfWindow {
				return true, d.oneByOne(ctx, *p, s, o)
			}
			if e.there && p.before && !p.unordered && len(p.items) >= inOrderAtLeast {
				return true, d.inOrder(ctx, *p, math.MaxUint32, true, s, o)
			}
			if e.there && p.before && oneSeries(p.items) {
				return true, d.oldestFirst(ctx, *p, s, o)
			}
			return true, d.halves(ctx, *p, e.outOfWindow, s, o)
		default:
			stored := remotewrite.MayHaveStored(r.Status, r.Error())
			p.before, p.resent = p.before || stored, p.resent || stored
			return false, nil
		}
	}
}

// smaller sends a part in two after a pause, and from now on fewer samples in a request.
func (d *sender) smaller(ctx context.Context, p part, pause time.Duration, s *search, o *ledger.Outcome) error {
	d.shrink(len(p.items))
	if !d.pause(ctx, pause) {
		return ctx.Err()
	}
	return d.inOrder(ctx, p, math.MaxUint32, p.resent, s, o)
}

// halves sends the two halves of a part by themselves: its series apart or, for
// an endpoint that minds the time of samples, the older ones and the newer.
func (d *sender) halves(ctx context.Context, p part, byTime bool, s *search, o *ledger.Outcome) error {
	at := 0
	if byTime {
		at = splitTime(p.items)
	}
	if at == 0 {
		at = splitPoint(p.items)
	}
	if err := d.leaveOrderOf(ctx, &p); err != nil {
		return err
	}
	for _, half := range [][]remotewrite.Item{p.items[:at], p.items[at:]} {
		if err := d.deliver(ctx, p.of(half), s, o); err != nil {
			return err
		}
	}
	return nil
}

// inOrderAtLeast is how many samples there must be for a question about their order to be
// worth more than the samples themselves, and its witnesses to be far from each other.
const inOrderAtLeast = 32

// inOrder sends a part in two, in the order of the WAL: wherever that ends, the endpoint
// has the first of the part. The first has about most items, half of all at the most.
// anew: how much of each is there is asked again. Where what is there ends takes some
// requests to find so, and not one for each sample.
func (d *sender) inOrder(ctx context.Context, p part, most uint32, anew bool, s *search, o *ledger.Outcome) error {
	at := splitOrder(p.items, most)
	for _, items := range [][]remotewrite.Item{p.items[:at], p.items[at:]} {
		if anew {
			s.asked = s.overtaken || d.inconclusive >= mostInconclusive
		}
		if s.hopeless() {
			s.anew() // the other one may be of another time
		}
		half := p.of(items)
		half.last = lastInOrder(items, math.MaxInt64)
		if err := d.deliver(ctx, half, s, o); err != nil {
			return err
		}
		p.failed = 0 // it has been answered
	}
	return nil
}

// oldestFirst sends the samples of one series, of which the endpoint has the first, one
// after the other: those that it has, it refuses. Behind the first one that it takes none
// is there, and the rest goes at once.
func (d *sender) oldestFirst(ctx context.Context, p part, s *search, o *ledger.Outcome) error {
	if err := d.leaveOrderOf(ctx, &p); err != nil { // of other series
		return err
	}
	for i := range p.items {
		before := s.parts
		if err := d.deliver(ctx, p.of(p.items[i:i+1]), s, o); err != nil {
			return err
		}
		if s.parts > before {
			return d.deliver(ctx, p.of(p.items[i+1:]), s, o)
		}
	}
	return nil
}

// oneByOne sends the samples of a series that is refused, oldest first. What is
// wrong with the series itself (labels, limits) is so with each of them: after two
// in a row the rest is given up.
func (d *sender) oneByOne(ctx context.Context, p part, s *search, o *ledger.Outcome) error {
	const enough = 2
	for i, inVain := 0, 0; i < len(p.items); i++ {
		if inVain == enough {
			s.refuse(&p, o, remotewrite.Samples(p.items[i:]))
			return nil
		}
		before := o.Delivered
		if err := d.deliver(ctx, p.of(p.items[i:i+1]), s, o); err != nil {
			return err
		}
		inVain++
		if o.Delivered > before {
			inVain = 0
		}
	}
	return nil
}

// askOne asks about one series that ends when most do: what one target stamps
// too old or too new must not decide about all others. It sends all that the part
// holds of it, which overtakes nothing; when that is refused, the newest sample
// alone. An endpoint that refuses this one too refuses everything of the batch.
func (d *sender) askOne(ctx context.Context, p *part, s *search, o *ledger.Outcome) error {
	from, to := typicalSeries(p.items)
	if to == from {
		return nil // exemplars only
	}
	s.oneAsked = true
	for begin := from; ; {
		r, err := d.sendOf(ctx, p, from, to, s, o)
		if err != nil {
			return err
		}
		if r == nil {
			s.refuse(p, o, remotewrite.Samples(p.items[begin:from]))
			p.items = slices.Delete(p.items, begin, from) // they would be "already there"
			return nil
		}
		if (p.before || r.Again) && remotewrite.AlreadyThere(r.Body) {
			s.took() // in an earlier request; how many, splitting tells without overtaking any
			if p.before || to-from == 1 {
				return nil
			}
			// Perhaps by the attempt that was not answered, and the others were not in that; or
			// somebody else writes ahead of us.
			run := p.of(slices.Clone(p.items[from:to]))
			run.before, run.perhaps = true, true
			p.items = slices.Concat(p.items[:from], p.items[to:])
			return d.oldestFirst(ctx, run, s, o)
		}
		if to-from == 1 && r.Class() == remotewrite.TooLarge {
			s.oneAsked = false // nothing is known of the others
			return nil
		}
		s.because(r)
		if to-from == 1 {
			return nil
		}
		from = to - 1 // if it is taken, those before it are too late
	}
}

// askEmpty reports whether the endpoint takes a request without samples, or looks
// into it at least: then it does not answer 413 to everything. It can overtake
// nothing.
func (d *sender) askEmpty(ctx context.Context) bool {
	r, err := d.send(ctx, nil, 0)
	if err != nil {
		return false
	}
	return r == nil || r.Class() == remotewrite.Final || errors.Is(r, remotewrite.ErrNothingWritten)
}

func (d *sender) newSearch(items []remotewrite.Item) *search {
	s := &search{budget: d.budget, asked: d.inconclusive >= mostInconclusive}
	if anyOvertaken(items, d.end.Generation, *d.overtaken.Load()) {
		unknown := d.partialWrites() == partialUnknown
		s.asked, s.overtaken, s.unsure = true, true, unknown && len(items) > 1
	}
	return s
}

// learnBudget draws the conclusion from a batch that is done with.
func (d *sender) learnBudget(s *search) {
	switch {
	case s.taken:
		// What could not be told may have been because it refused everything.
		d.budget, d.inconclusive = mostInVain, 0
	case s.refusals >= s.budget:
		d.budget = max(1, d.budget/4)
	}
}
