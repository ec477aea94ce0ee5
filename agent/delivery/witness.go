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
	// candidatesSpan is for how long, mostRead how many samples of all series at the most.
	candidatesSpan = 3 * time.Minute
	mostRead       = 50_000
	// mostApart is how far the samples of a witness are from each other at the most, as after
	// a boot, and nearMark how far its first is from that of the others. A receiver that takes
	// nothing from more than an hour before the newest that it has (Cortex) must not be led
	// away from what is on disk before them: a witness goes three samples further at the most.
	mostApart = 10 * time.Minute
	nearMark  = 2 * time.Minute
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
	hash   uint64 // labels.StableHash
	series *remotewrite.Series
	seen   []sighting       // that were not sent yet
	last   int64            // the newest time seen, in milliseconds
	caught bool             // the last that was sent is the newest that the endpoint has
	first  remotewrite.Item // that one
	from   int64            // the first time seen
	upTo   int64            // what is dated from then up to this time the endpoint has; 0: nothing
	agrees bool             // it has told that partial writes are stored
	both   int64            // what upTo is if that is so; 0: it has not told
	unfit  bool             // it tells nothing
	back   bool             // a sample of it is dated no later than one before it
}

func (w *witness) giveUp() { w.unfit, w.seen = true, nil }

// ended reports whether a witness has no more to tell when others have gone on to a time, in
// milliseconds.
func (w *witness) ended(newest int64) bool {
	return newest-w.last > mostApart.Milliseconds() && (!w.caught || len(w.seen) < toTell)
}

// distance returns how far two times are from each other, in milliseconds.
func distance(a, b int64) time.Duration { return (time.Duration(a-b) * time.Millisecond).Abs() }

func newestOf(ws []*witness) (newest int64) {
	for _, w := range ws {
		newest = max(newest, w.last)
	}
	return newest
}

// see takes the next sample of the series, dated in milliseconds.
func (w *witness) see(s sighting) {
	first := w.last == 0
	back := !first && s.T <= w.last
	w.back = w.back || back
	switch {
	case w.unfit:
		return
	case s.Kind != remotewrite.FloatSample, // a histogram would take kilobytes
		back, s.T <= 0, !first && s.T-w.last > mostApart.Milliseconds(),
		len(w.seen) == mostAskedAhead:
		w.giveUp()
		return
	}
	if first {
		w.from = s.T
	}
	w.last = s.T
	if w.caught && len(w.seen) == toTell {
		return
	}
	s.Series = w.series // of two generations, a request would name it twice
	w.seen = append(w.seen, s)
}

// period is from one time to another, both in it, in milliseconds.
type period struct{ from, to int64 }

func (p period) has(t int64) bool { return t >= p.from && t <= p.to }

// witnessed returns the times of the samples that the endpoint has of some series, by
// labels.StableHash, where times tell which samples these are.
func witnessed(ws []*witness) map[uint64]period {
	out := map[uint64]period{}
	for _, w := range ws {
		if w.upTo > 0 && !w.back {
			out[w.hash] = period{w.from, w.upTo}
		}
	}
	return out
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
		w = &witness{hash: hash, series: s.Series}
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
	var firsts []int64
	often := false // some come twice
	for _, w := range c.byHash {
		if !w.unfit {
			firsts = append(firsts, w.seen[0].T)
			often = often || len(w.seen) > 1
		}
	}
	slices.Sort(firsts)
	var out []*witness
	for _, hash := range slices.Sorted(maps.Keys(c.byHash)) {
		w := c.byHash[hash]
		// One may date its samples back or ahead; most do not.
		if few || w.unfit || len(out) == mostWitnesses || distance(w.seen[0].T, firsts[len(firsts)/2]) > nearMark || often && len(w.seen) < 2 {
			delete(c.byHash, hash)
			continue
		}
		out = append(out, w)
	}
	return out
}
