package ledger

import (
	"slices"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// stretchSamples bounds how many samples of several records share an entry. It
// is how far off the oldest time may be.
const stretchSamples = 1000

// held is what has been read and not settled, in the order of the WAL.
type held struct {
	stretches []stretch
	samples   uint64
}

// stretch of one segment. Eviction goes by whole segments, so that it is all
// evicted, or not at all.
type stretch struct {
	segment backlog.Position // offset 0
	samples uint64
	oldest  int64 // milliseconds
	// begun: some of it has been settled, and which time is the oldest is not known. It
	// takes no more, or it would never end while something is always on its way.
	begun bool
}

// add appends a record of n samples that ends at end and was scraped at oldest.
func (h *held) add(end backlog.Position, n uint64, oldest int64) {
	if n == 0 {
		return
	}
	h.samples += n
	s := stretch{segment: beginOfSegment(end), samples: n, oldest: oldest}
	if i := len(h.stretches) - 1; i >= 0 {
		if last := &h.stretches[i]; !last.begun && last.segment == s.segment && last.samples+n <= stretchSamples {
			last.samples += n
			last.oldest = min(last.oldest, oldest)
			return
		}
	}
	h.stretches = append(h.stretches, s)
}

// settle takes n samples out, the first ones first, and returns how many of them
// were not there.
func (h *held) settle(n uint64) (missing uint64) {
	done := 0
	for n > 0 && done < len(h.stretches) {
		s := &h.stretches[done]
		m := min(n, s.samples)
		s.samples, s.begun = s.samples-m, true
		h.samples -= m
		n -= m
		if s.samples == 0 {
			done++
		}
	}
	h.stretches = slices.Delete(h.stretches, 0, done)
	return n
}

// before returns how many samples lie in segments before a position.
func (h *held) before(p backlog.Position) (n uint64) {
	for _, s := range h.stretches {
		if s.segment.Compare(p) < 0 {
			n += s.samples
		}
	}
	return n
}

// oldest returns when the oldest was scraped, 0 when there is none. Times need
// not ascend: the clock may be set.
func (h *held) oldest() int64 {
	if len(h.stretches) == 0 {
		return 0
	}
	oldest := h.stretches[0].oldest
	for _, s := range h.stretches {
		oldest = min(oldest, s.oldest)
	}
	return oldest
}

func beginOfSegment(p backlog.Position) backlog.Position {
	p.Offset = 0
	return p
}

// later returns the position that lies furthest.
func later(p backlog.Position, others ...backlog.Position) backlog.Position {
	for _, q := range others {
		if p.Compare(q) < 0 {
			p = q
		}
	}
	return p
}
