package delivery

import (
	"time"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// tally counts what became of the samples of a stretch of the WAL.
type tally struct {
	delivered, refusedSamples, uncertainSamples, unknown, damagedBytes, lostStretches uint64
	filtered                                                                          filtered
	refused, uncertain                                                                map[string]uint64
}

func (n *tally) refuse(reason string, samples uint64) {
	n.refusedSamples += samples
	add(&n.refused, reason, samples)
}

func (n *tally) doubt(reason string, samples uint64) {
	n.uncertainSamples += samples
	add(&n.uncertain, reason, samples)
}

// merge adds m to n.
func (n *tally) merge(m tally) {
	n.delivered += m.delivered
	n.unknown += m.unknown
	n.damagedBytes += m.damagedBytes
	n.lostStretches += m.lostStretches
	for i, c := range m.filtered {
		n.filtered[i] += c
	}
	for reason, c := range m.refused {
		n.refuse(reason, c)
	}
	for reason, c := range m.uncertain {
		n.doubt(reason, c)
	}
}

// total number of samples.
func (n *tally) total() uint64 {
	sum := n.delivered + n.refusedSamples + n.uncertainSamples + n.unknown
	for _, c := range n.filtered {
		sum += c
	}
	return sum
}

func (n *tally) enter(l *Ledger) {
	l.Delivered += n.delivered
	l.DamagedBytes += n.damagedBytes
	l.LostStretches += n.lostStretches
	for i, c := range n.filtered {
		add(&l.Filtered, reasonNames[i], c)
	}
	for reason, c := range n.refused {
		add(&l.Refused, reason, c)
	}
	for reason, c := range n.uncertain {
		add(&l.Uncertain, reason, c)
	}
	add(&l.Uncertain, "series_lost", n.unknown)
}

// samplesOf counts what the ledger counts: exemplars are not samples.
func samplesOf(items []item) uint64 {
	var n uint64
	for _, it := range items {
		if it.kind != exemplarItem {
			n++
		}
	}
	return n
}

// batch is a stretch of the WAL on its way to the endpoint.
type batch struct {
	items []item
	end   backlog.Position
	tally tally
	begun time.Time
	// resent: it may have been sent before without an answer.
	resent bool
}

// ewma is an exponentially weighted moving average of events a second, with a
// time constant of ten seconds.
type ewma struct {
	value float64
	count uint64
	last  time.Time
}

const rateWindow = 10 * time.Second

func (r *ewma) add(n uint64) {
	r.count += n
	r.roll()
}

func (r *ewma) roll() {
	now := time.Now()
	if r.last.IsZero() {
		r.last = now
		return
	}
	dt := now.Sub(r.last)
	if dt < time.Second {
		return
	}
	weight := min(1, float64(dt)/float64(rateWindow))
	if r.value == 0 {
		weight = 1
	}
	r.value += weight * (float64(r.count)/dt.Seconds() - r.value)
	r.count, r.last = 0, now
}

func (r *ewma) perSecond() float64 {
	r.roll()
	return r.value
}
