package delivery

import (
	"maps"
	"slices"
	"time"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

const (
	// candidatesSpan is for how long it is looked which series there are before some are
	// chosen, mostRead for how many samples of all at the most.
	candidatesSpan = 3 * time.Minute
	mostRead       = 50_000
	// mostBegin is how many samples of a record tell where what is read begins.
	mostBegin = 100
	// mostApart is how far the samples of a witness are from each other at the most, as after
	// a boot, and nearMark how far its first is from where it begins. A receiver that takes
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
	hash   uint64              // labels.StableHash
	series *remotewrite.Series // nil before it is seen
	seen   []sighting          // that were not sent yet
	last   int64               // the newest time seen, in milliseconds
	caught bool                // the last that was sent is the newest that the endpoint has
	first  remotewrite.Item    // that one
	from   int64               // the first time seen, or that behind what may be older only
	upTo   int64               // what is dated from then up to this time the endpoint has; 0: nothing
	agrees bool                // it has told that partial writes are stored
	both   int64               // what upTo is if that is so; 0: it has not told
	unfit  bool                // it tells nothing
	back   bool                // a sample of it is dated no later than one before it
}

func (w *witness) giveUp() { w.unfit, w.seen = true, nil }

// ended reports whether a witness has no more to tell when others have gone on to a time, in
// milliseconds.
func (w *witness) ended(newest int64) bool {
	return w.series != nil && newest-w.last > mostApart.Milliseconds() && (!w.caught || len(w.seen) < toTell)
}

// distance returns how far two times are from each other, in milliseconds.
func distance(a, b int64) time.Duration { return (time.Duration(a-b) * time.Millisecond).Abs() }

func newestOf(ws []*witness) (newest int64) {
	for _, w := range ws {
		newest = max(newest, w.last)
	}
	return newest
}

// fit reports whether a witness may have a sample: a histogram would take kilobytes.
func fit(it remotewrite.Item) bool { return it.Kind == remotewrite.FloatSample && it.T > 0 }

// follows reports whether the samples of a witness may have these times, one after the other.
func follows(t, last int64) bool { return t > last && t-last <= mostApart.Milliseconds() }

// see takes the next sample of the series, dated in milliseconds. One that the witness has
// overtaken, as the clock was set back, tells nothing.
func (w *witness) see(s sighting, overtaken bool) {
	first := w.series == nil
	if overtaken && !first {
		return
	}
	w.back = w.back || !first && s.T <= w.last
	switch {
	case w.unfit:
		return
	case !fit(s.Item), !first && !follows(s.T, w.last), len(w.seen) == mostAskedAhead:
		w.giveUp()
		return
	}
	if first {
		w.series, w.from = s.Series, s.T
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

// tally is what was seen of a series of which a witness may be chosen.
type tally struct {
	samples     int
	first, last int64 // times in milliseconds
	unfit       bool
}

// candidates are the series that witnesses are chosen of. They do no I/O.
type candidates struct {
	byHash map[uint64]tally // labels.StableHash
	read   int              // samples
	begin  []int64          // times in the first record, or of some of it, in milliseconds
	begun  bool             // that was seen
}

func newCandidates() *candidates { return &candidates{byHash: map[uint64]tally{}} }

// see takes a sample of a series with a hash, and reports whether enough have been seen.
// overtaken: see witness.see.
func (c *candidates) see(hash uint64, it remotewrite.Item, overtaken bool) (enough bool) {
	c.read++
	if !c.begun && len(c.begin) < mostBegin {
		c.begin = append(c.begin, it.T)
	}
	t, known := c.byHash[hash]
	if known && overtaken {
		return c.read >= mostRead
	}
	if !known {
		t.first = it.T
	}
	t.unfit = t.unfit || !fit(it) || known && !follows(it.T, t.last)
	t.samples, t.last = t.samples+1, it.T
	c.byHash[hash] = t
	return c.read >= mostRead || !t.unfit && t.last-t.first >= candidatesSpan.Milliseconds()
}

// recordEnds is called behind the samples of a record.
func (c *candidates) recordEnds() { c.begun = len(c.begin) > 0 }

// choose returns some of them by their hashes, which have nothing to do with what their
// labels mean; none unless there are more than are asked: to ask about each sample of so few
// is as good.
//
// They come often: of a series that comes once, as there are thousands where a target has
// new ones at each scrape, nothing can be asked that the endpoint does not have. And they
// begin where what is read begins, its first record: none must be sent ahead of what is hours
// older.
func (c *candidates) choose() (out []*witness) {
	if len(c.byHash) <= witnessesAsked {
		return nil
	}
	most := 0
	for _, t := range c.byHash {
		if !t.unfit {
			most = max(most, t.samples)
		}
	}
	slices.Sort(c.begin)
	begins := c.begin[(len(c.begin)-1)/2]
	for _, hash := range slices.Sorted(maps.Keys(c.byHash)) {
		t := c.byHash[hash]
		seldom := t.samples < min(2, most) || t.samples <= most/4
		if len(out) < mostWitnesses && !t.unfit && !seldom && distance(t.first, begins) <= nearMark {
			out = append(out, &witness{hash: hash})
		}
	}
	return out
}
