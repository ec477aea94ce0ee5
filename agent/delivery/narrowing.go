package delivery

import "github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"

// run is the samples of one series in grouped items.
type run struct {
	from, to int
	head     int // the newest; of several of one time the first
}

// span is a part of the series of a batch.
type span struct {
	from, to int
	// first: its other half comes next, if this one is taken whole.
	first bool
	// sure: one of its series is refused, so that it need not be asked about whole.
	sure bool
}

// narrowing is the way to those series of a batch that are refused, by halves. It
// does no I/O.
type narrowing struct {
	items []remotewrite.Item
	runs  []run
	open  []span // the next one last
	asked int    // requests
}

// newNarrowing begins with all series of grouped items. sure: one is refused.
func newNarrowing(items []remotewrite.Item, sure bool) *narrowing {
	n := &narrowing{items: items}
	for from, to := 0, 0; from < len(items); from = to {
		r := run{from: from, head: -1}
		for ; to < len(items) && items[to].Series == items[from].Series; to++ {
			if items[to].Kind != remotewrite.Exemplar && (r.head < 0 || items[to].T > items[r.head].T) {
				r.head = to
			}
		}
		if r.to = to; r.head >= 0 {
			n.runs = append(n.runs, r)
		}
	}
	if len(n.runs) > 0 {
		n.open = []span{{to: len(n.runs), sure: sure}}
	}
	return n
}

// next returns what is to be asked about next; false: nothing is left.
func (n *narrowing) next() (span, bool) {
	for len(n.open) > 0 {
		s := n.open[len(n.open)-1]
		n.open = n.open[:len(n.open)-1]
		if !s.sure || s.one() {
			return s, true
		}
		n.halve(s)
	}
	return span{}, false
}

// taken notes that s was taken whole: if it is half of what was not, the fault is
// in the other one.
func (n *narrowing) taken(s span) {
	if last := len(n.open) - 1; s.first && last >= 0 {
		n.open[last].sure = true
	}
}

// halve makes two of a span of several series.
func (n *narrowing) halve(s span) {
	middle := (s.from + s.to) / 2
	n.open = append(n.open, span{from: middle, to: s.to}, span{from: s.from, to: middle, first: true})
}

func (s span) one() bool { return s.to-s.from == 1 }

// heads returns the newest sample of each series.
func (n *narrowing) heads(s span) []remotewrite.Item {
	out := make([]remotewrite.Item, 0, s.to-s.from)
	for _, r := range n.runs[s.from:s.to] {
		out = append(out, n.items[r.head])
	}
	return out
}

// whole returns all samples of each series.
func (n *narrowing) whole(s span) (out []remotewrite.Item) {
	for _, r := range n.runs[s.from:s.to] {
		out = append(out, n.items[r.from:r.to]...)
	}
	return out
}

// samples counts the newest of each series, and the others.
func (n *narrowing) samples(s span) (heads, others uint64) {
	heads = uint64(s.to - s.from)
	for _, r := range n.runs[s.from:s.to] {
		others += remotewrite.Samples(n.items[r.from:r.to])
	}
	return heads, others - heads
}
