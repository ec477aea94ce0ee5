package backlog

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
)

const (
	// maxMarks bounds the memory of one detailed tally, to 3 MiB.
	maxMarks = 1 << 16
	// keepMarks is how long the detail of a segment outlives the last question
	// for it.
	keepMarks = 5 * time.Minute
)

type segmentKey struct{ generation, segment int }

func (k segmentKey) compare(other segmentKey) int {
	return cmp.Or(cmp.Compare(k.generation, other.generation), cmp.Compare(k.segment, other.segment))
}

// index knows how many samples each segment holds, so that nobody has to read to
// say how much is pending. The running generation is counted as it is written;
// older ones in the background.
type index struct {
	mu      sync.Mutex
	tallies map[segmentKey]*tally
	wanted  map[segmentKey]struct{} // counted already, but somebody asked for a part of it
	tail    *Reader                 // of the running generation; used by sweeps only
	counter *counter                // of the segment that tail is in
	tailKey segmentKey

	seriesBytes int64 // of all series records in the running generation so far
}

// tally is what is known of one segment.
type tally struct {
	counts   Counts
	oldest   int64 // time of the oldest sample in milliseconds; math.MaxInt64 if there is none
	context  int   // number of series and metadata records
	end      int64 // the offset up to which has been counted
	complete bool

	// marks is the detail, for positions within the segment; nil if nobody has
	// asked for it lately.
	marks []mark
	thin  bool // marks does not know every record
	asked time.Time
}

// mark says how much of a segment lies before an offset.
type mark struct {
	end    int64
	before Counts
	oldest int64 // time of the oldest sample between this mark and the one before
}

func newIndex() *index {
	return &index{tallies: map[segmentKey]*tally{}, wanted: map[segmentKey]struct{}{}}
}

func (x *index) close() error {
	if x.tail == nil {
		return nil
	}
	return x.tail.Close()
}

func newTally(detailed bool) *tally {
	t := &tally{oldest: math.MaxInt64}
	if detailed {
		t.marks = []mark{}
	}
	return t
}

// add enters a record that ends at an offset.
func (t *tally) add(typ record.Type, c Counts, oldest, end int64) {
	if isContext(typ) {
		t.context++
	}
	t.counts = t.counts.Add(c)
	t.oldest = min(t.oldest, oldest)
	t.end = end
	if t.marks == nil {
		return
	}
	t.marks = append(t.marks, mark{end: end, before: t.counts, oldest: oldest})
	if len(t.marks) >= maxMarks {
		t.thinOut()
	}
}

// thinOut drops every other mark. A segment of a plain Prometheus agent may hold
// a million records.
func (t *tally) thinOut() {
	kept := t.marks[:0]
	for i := 1; i < len(t.marks); i += 2 {
		m := t.marks[i]
		m.oldest = min(m.oldest, t.marks[i-1].oldest)
		kept = append(kept, m)
	}
	t.marks, t.thin = kept, true
}

// behind returns what lies behind an offset, and whether that is exact.
func (t *tally) behind(offset int64) (c Counts, oldest int64, exact bool) {
	switch {
	case offset <= 0:
		return t.counts, t.oldest, true
	case offset >= t.end:
		return Counts{}, math.MaxInt64, true
	case t.marks == nil:
		return t.counts, t.oldest, false
	}
	n, found := slices.BinarySearchFunc(t.marks, offset, func(m mark, off int64) int { return cmp.Compare(m.end, off) })
	if found {
		n++
	}
	oldest = math.MaxInt64
	for _, m := range t.marks[n:] {
		oldest = min(oldest, m.oldest)
	}
	c = t.counts
	if n > 0 {
		c = c.Sub(t.marks[n-1].before)
	}
	return c, oldest, found || !t.thin
}

// seriesFree says that a segment is known to hold nothing a reader would need for
// context.
func (x *index) seriesFree(generation, i int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.tallies[segmentKey{generation, i}]
	return t != nil && t.complete && t.context == 0
}

// whole returns the counts of a segment that has been counted to its end.
func (x *index) whole(k segmentKey) (Counts, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if t := x.tallies[k]; t != nil && t.complete {
		return t.counts, true
	}
	return Counts{}, false
}

func (x *index) forget(generation int, segments ...int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, i := range segments {
		delete(x.tallies, segmentKey{generation, i})
		delete(x.wanted, segmentKey{generation, i})
	}
}

func (x *index) forgetGeneration(generation int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	maps.DeleteFunc(x.tallies, func(k segmentKey, _ *tally) bool { return k.generation == generation })
	maps.DeleteFunc(x.wanted, func(k segmentKey, _ struct{}) bool { return k.generation == generation })
}

// dropDetail frees what nobody has asked for lately, but for the newest two
// segments, where the marks of live destinations are.
func (x *index) dropDetail(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k, t := range x.tallies {
		newest := k.generation == x.tailKey.generation && k.segment >= x.tailKey.segment-1
		if t.complete && !newest && now.Sub(t.asked) > keepMarks {
			t.marks = nil
		}
	}
}

// countRunning counts what was written to the WAL since the last call. Callers
// hold op.
func (s *Store) countRunning() error {
	x := s.index
	if x.tail == nil {
		x.tail = s.NewReader(Position{Generation: s.current})
		x.counter, x.tailKey = newCounter(), segmentKey{s.current, 0}
	}
	for {
		rec, err := x.tail.Next()
		pos := x.tail.Position()
		if err == nil && !rec.Context && rec.Kind == Data {
			pos = rec.End
		}
		x.advance(segmentKey{s.current, pos.Segment})
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if rec.Context || rec.Kind != Data {
			continue
		}
		c, oldest := x.counter.count(rec)
		x.mu.Lock()
		x.tallies[x.tailKey].add(rec.Type, c, oldest, rec.End.Offset)
		if isContext(rec.Type) {
			x.seriesBytes += rec.End.Offset - rec.Pos.Offset
		}
		x.mu.Unlock()
	}
}

// advance makes k the segment being counted, and completes those before it.
func (x *index) advance(k segmentKey) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.tallies[k] == nil {
		x.tallies[k] = newTally(true)
	}
	if k == x.tailKey {
		return
	}
	if t := x.tallies[x.tailKey]; t != nil {
		t.complete = true
	}
	x.tailKey = k
	x.counter = newCounter() // one symbol table for each segment, or it grows for ever
}

// countOne counts one segment of an older generation, or one of which the detail
// is wanted, and says whether there was any left. Oldest first: that is what goes
// first.
func (s *Store) countOne() (more bool, err error) {
	k, path, detailed, ok := s.uncounted()
	if !ok {
		return false, nil
	}
	t := newTally(detailed)
	if detailed {
		t.asked = time.Now()
	}
	c := newCounter()
	err = scanFile(path, func(rec []byte, end int64) error {
		typ := recordType(rec)
		counts, oldest := c.count(&Record{Type: typ, Data: rec})
		t.add(typ, counts, oldest, end)
		return nil
	})
	var derr *damageError
	if errors.As(err, &derr) {
		err = nil // readers tell, who know whether it matters
	}
	// Also after an error: it would be the same next time. Readers ask the disk
	// again, and report what they cannot read.
	t.complete = true
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.index
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.wanted, k)
	if g := s.generation(k.generation); g != nil && g.segment(k.segment) != nil {
		x.tallies[k] = t
	}
	return true, err
}

// uncounted returns the segment to be counted next.
func (s *Store) uncounted() (k segmentKey, path string, detailed, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.index
	x.mu.Lock()
	defer x.mu.Unlock()
	if wanted := slices.SortedFunc(maps.Keys(x.wanted), segmentKey.compare); len(wanted) > 0 {
		for _, k := range wanted {
			if g := s.generation(k.generation); g != nil {
				if seg := g.segment(k.segment); seg != nil {
					return k, s.pathOf(g, seg), true, true
				}
			}
			delete(x.wanted, k)
		}
	}
	for _, g := range s.generations[:len(s.generations)-1] {
		for n := range g.segments {
			k := segmentKey{g.number, g.segments[n].index}
			if t := x.tallies[k]; t == nil || !t.complete {
				return k, s.pathOf(g, &g.segments[n]), false, true
			}
		}
	}
	return k, "", false, false
}

// counter counts the samples in records.
type counter struct {
	dec        record.Decoder
	samples    []record.RefSample
	histograms []record.RefHistogramSample
	floatHists []record.RefFloatHistogramSample
	exemplars  []record.RefExemplar
}

func newCounter() *counter {
	return &counter{dec: record.NewDecoder(labels.NewSymbolTable(), slog.New(slog.DiscardHandler))}
}

// count returns what a record holds, and the time of its oldest sample. A record
// that cannot be decoded holds nothing that anybody could deliver.
func (c *counter) count(rec *Record) (n Counts, oldest int64) {
	oldest = math.MaxInt64
	var err error
	switch rec.Type {
	case record.Samples, record.SamplesV2:
		if c.samples, err = c.dec.Samples(rec.Data, c.samples[:0]); err == nil {
			n.Floats = uint64(len(c.samples))
			for _, s := range c.samples {
				oldest = min(oldest, s.T)
			}
		}
	case record.HistogramSamples, record.HistogramSamplesV2, record.CustomBucketsHistogramSamples:
		if c.histograms, err = c.dec.HistogramSamples(rec.Data, c.histograms[:0]); err == nil {
			n.Histograms = uint64(len(c.histograms))
			for _, s := range c.histograms {
				oldest = min(oldest, s.T)
			}
		}
	case record.FloatHistogramSamples, record.FloatHistogramSamplesV2, record.CustomBucketsFloatHistogramSamples:
		if c.floatHists, err = c.dec.FloatHistogramSamples(rec.Data, c.floatHists[:0]); err == nil {
			n.Histograms = uint64(len(c.floatHists))
			for _, s := range c.floatHists {
				oldest = min(oldest, s.T)
			}
		}
	case record.Exemplars:
		if c.exemplars, err = c.dec.Exemplars(rec.Data, c.exemplars[:0]); err == nil {
			n.Exemplars = uint64(len(c.exemplars))
		}
	}
	return n, oldest
}
