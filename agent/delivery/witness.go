package delivery

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

const (
	// mostCandidates is how many series are looked at before some are chosen.
	mostCandidates = 32
	// candidatesSpan is for how long, mostRead how many samples of all series.
	candidatesSpan = 2 * time.Minute
	mostRead       = 200_000
	// mostApart is how far the samples of a witness are from each other at the most. A
	// receiver that takes nothing from more than an hour before the newest that it has
	// (Cortex) must not be led away from what is on disk before them.
	mostApart = time.Minute
	// toTell is how many samples that the endpoint does not have it takes to tell what it
	// does with partial writes.
	toTell = 3
)

// sighting is a sample and where the record ends that it is from.
type sighting struct {
	remotewrite.Item

	end backlog.Position
}

// witness is a series that is sent by itself, from the mark on as far as the endpoint has it
// and a little further; see askWitnesses.
type witness struct {
	series *remotewrite.Series
	seen   []sighting // that were not sent yet
	last   int64      // the newest time seen, in milliseconds
	caught bool       // the last that was sent is the newest that the endpoint has
	agrees bool       // it has told that partial writes are stored
	unfit  bool       // it tells nothing
}

func (w *witness) giveUp() { w.unfit, w.seen = true, nil }

// ended reports whether a witness has no more to tell when others have gone on to a time, in
// milliseconds.
func (w *witness) ended(newest int64) bool {
	return newest-w.last > 2*mostApart.Milliseconds() && (!w.caught || len(w.seen) < toTell)
}

func newestOf(ws []*witness) (newest int64) {
	for _, w := range ws {
		newest = max(newest, w.last)
	}
	return newest
}

// see takes the next sample of the series, dated in milliseconds.
func (w *witness) see(s sighting) {
	first := w.last == 0
	switch {
	case w.unfit:
		return
	case s.Kind != remotewrite.FloatSample, // a histogram would take kilobytes
		!first && (s.T <= w.last || s.T-w.last > mostApart.Milliseconds()),
		len(w.seen) == mostAskedAhead:
		w.giveUp()
		return
	}
	w.last = s.T
	if w.caught && len(w.seen) == toTell {
		return
	}
	s.Series = w.series // of two generations, a request would name it twice
	w.seen = append(w.seen, s)
}

// candidates are the series that witnesses are chosen of: those with the lowest hashes,
// which has nothing to do with what their labels mean. They begin where what is read
// begins: none must be sent ahead of what is hours older. They do no I/O.
type candidates struct {
	byHash map[uint64]*witness // labels.StableHash
	most   uint64              // no hash above it is kept
	read   int                 // samples
}

func newCandidates() *candidates {
	return &candidates{byHash: map[uint64]*witness{}, most: math.MaxUint64}
}

// see takes a sample of a series with a hash, and reports whether enough have been seen.
func (c *candidates) see(hash uint64, s sighting) (enough bool) {
	c.read++
	w := c.byHash[hash]
	if w == nil {
		if hash > c.most {
			return c.read >= mostRead
		}
		w = &witness{series: s.Series}
		c.byHash[hash] = w
		if len(c.byHash) > mostCandidates {
			highest := slices.Max(slices.Collect(maps.Keys(c.byHash)))
			delete(c.byHash, highest)
			c.most = highest - 1
		}
	}
	w.see(s)
	spans := len(w.seen) > 0 && w.last-w.seen[0].T >= candidatesSpan.Milliseconds()
	return spans || c.read >= mostRead
}

// choose returns some of them by their hashes, none unless there are more than are asked: to
// ask about each sample of so few is as good. It keeps no others.
func (c *candidates) choose() []*witness {
	few := len(c.byHash) <= witnessesAsked
	begin := int64(math.MaxInt64)
	for _, w := range c.byHash {
		if !w.unfit {
			begin = min(begin, w.seen[0].T)
		}
	}
	var out []*witness
	for _, hash := range slices.Sorted(maps.Keys(c.byHash)) {
		w := c.byHash[hash]
		if few || w.unfit || w.seen[0].T-begin > mostApart.Milliseconds() || len(out) == mostWitnesses {
			delete(c.byHash, hash)
			continue
		}
		out = append(out, w)
	}
	return out
}
