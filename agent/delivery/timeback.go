package delivery

import (
	"slices"
	"time"

	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// TimeWentBack tells, before the first Apply, that the clock lies before a time
// that it had in an earlier run. What it dates until then, an endpoint may refuse
// for newer samples that it got before; so that nothing follows from such an
// answer, neither that the refused samples are there nor what the endpoint does
// with the others of a request. Later runs know it too, whose clock may be right:
// such samples are on disk until they are sent; see passed.
func (d *Delivery) TimeWentBack(from time.Time) {
	d.mayBeOvertaken(ledger.Overtaken{UpTo: from.UnixMilli(), From: d.store.Generation()})
}

func (d *Delivery) mayBeOvertaken(o ledger.Overtaken) {
	all := d.overtaken.Load().And(o)
	d.overtaken.Store(&all)
}

// Latest returns the latest time that the clock is known to have had in earlier runs, as
// the marks have it, or, where these were not written at the end of one, what was scraped.
func (d *Delivery) Latest() time.Time {
	d.marks.mtx.Lock()
	defer d.marks.mtx.Unlock()
	return time.UnixMilli(d.marks.latest)
}

// readTimes reads, after a run that could not say so, what the clock was behind the marks.
func (d *Delivery) readTimes() {
	all, err := d.store.Scraped(d.opts.Saved.Tail, backlog.Position{Generation: d.store.Generation()})
	if err != nil {
		level.Error(d.logger).Log("msg", "Cannot read when the last scrapes were before the last stop", "err", err)
	}
	latest, overtaken := clockOf(d.opts.Saved, all)
	d.marks.latest = max(d.marks.latest, latest)
	d.mayBeOvertaken(overtaken)
}

// clockOf returns the latest time of the clock by the marks and by the generations behind
// their tail, in milliseconds, and what is overtaken in these.
func clockOf(saved ledger.File, scraped []backlog.Scraped) (latest int64, overtaken ledger.Overtaken) {
	latest = saved.Written
	for _, s := range scraped {
		// Of the generation of the marks, some was scraped before they were written.
		if s.Generation != saved.Tail.Generation && s.First < latest {
			overtaken = overtaken.And(ledger.Overtaken{UpTo: latest, From: s.Generation})
		}
		latest = max(latest, s.Last)
	}
	return latest, overtaken
}

// SawTime tells that the clock had this time, before it was set back.
func (d *Delivery) SawTime(t time.Time) {
	d.marks.mtx.Lock()
	defer d.marks.mtx.Unlock()
	d.marks.latest = max(d.marks.latest, t.UnixMilli())
}

// ForgetLatest tells that the latest time the clock has had is not to be waited
// for any more: it may itself have been wrong.
func (d *Delivery) ForgetLatest() {
	d.marks.mtx.Lock()
	defer d.marks.mtx.Unlock()
	d.marks.latest = 0
}

// passedAfter is for how long nothing must be out of order until it is known that endpoints
// have nothing newer than what they are sent.
const passedAfter = 10 * time.Minute

// passed finds out that nothing is overtaken any more, though the clock may lie before a time
// that it had, as that one was wrong. Else one glitch of a clock, decades ahead, would be
// remembered for decades. It has no clock.
type passed struct {
	since time.Time
	then  map[string]ledger.Saved // at that time; nil: it has not begun
}

// look reports whether every destination has left behind what earlier generations wrote, and
// got samples since, for long enough, of which none was out of order.
func (p *passed) look(now time.Time, generation int, saved map[string]ledger.Saved) bool {
	anew, taken := p.then == nil, len(saved) > 0
	for name, s := range saved {
		if s.Mark.Generation < generation {
			p.then = nil
			return false
		}
		then, known := p.then[name]
		anew = anew || !known || outOfOrder(s.Terms) != outOfOrder(then.Terms)
		taken = taken && s.Terms.Delivered > then.Terms.Delivered
	}
	if anew {
		p.since, p.then = now, saved
		return false
	}
	return taken && now.Sub(p.since) >= passedAfter
}

// outOfOrder returns how many samples an endpoint refused, as it had newer ones.
func outOfOrder(t ledger.Terms) uint64 {
	return t.Refused[remotewrite.OutOfOrder] + t.Uncertain[remotewrite.OutOfOrder]
}

// anyOvertaken reports whether some of the items, of a generation, may be older than what
// the endpoint got before the clock was set back.
func anyOvertaken(items []remotewrite.Item, generation int, overtaken ledger.Overtaken) bool {
	return slices.ContainsFunc(items, func(it remotewrite.Item) bool {
		return it.Kind != remotewrite.Exemplar && overtaken.Has(generation, it.T)
	})
}
