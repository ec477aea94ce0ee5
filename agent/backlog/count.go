package backlog

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"time"
)

// Count returns what lies between two positions, exactly, by reading what the
// index does not know. What is damaged or missing cannot be counted and is left
// out. The errors are failures of the disk.
func (s *Store) Count(from, to Position) (Counts, error) {
	var sum Counts
	for _, k := range s.keysBetween(from, to) {
		var begin, end int64 = 0, math.MaxInt64
		if k.generation == from.Generation && k.segment == from.Segment {
			begin = from.Offset
		}
		if k.generation == to.Generation && k.segment == to.Segment {
			end = to.Offset
		}
		if begin == 0 && end == math.MaxInt64 {
			if c, ok := s.index.whole(k); ok {
				sum = sum.Add(c)
				continue
			}
		}
		c, err := s.countPart(k, begin, end)
		if err != nil {
			return Counts{}, fmt.Errorf("cannot count the samples of segment %08d/%08d: %w", k.generation, k.segment, err)
		}
		sum = sum.Add(c)
	}
	return sum, nil
}

// keysBetween returns the segments with data between two positions: those on
// disk, and those which upstream deleted but which the index still knows.
func (s *Store) keysBetween(from, to Position) []segmentKey {
	keys := map[segmentKey]struct{}{}
	within := func(k segmentKey) bool {
		begin := Position{Generation: k.generation, Segment: k.segment}
		return begin.Compare(to) < 0 && k.compare(segmentKey{from.Generation, from.Segment}) >= 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.generations {
		for _, seg := range g.segments {
			if k := (segmentKey{g.number, seg.index}); within(k) {
				keys[k] = struct{}{}
			}
		}
	}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	for k := range s.index.tallies {
		if within(k) {
			keys[k] = struct{}{}
		}
	}
	return slices.SortedFunc(maps.Keys(keys), segmentKey.compare)
}

// countPart reads one segment, and counts the records that end behind begin and
// not behind end.
func (s *Store) countPart(k segmentKey, begin, end int64) (sum Counts, err error) {
	s.mu.Lock()
	var path string
	if g := s.generation(k.generation); g != nil {
		if seg := g.segment(k.segment); seg != nil {
			path = s.pathOf(g, seg)
		}
	}
	s.mu.Unlock()
	err = fs.ErrNotExist
	if path != "" {
		c := newCounter()
		err = scanFile(path, func(rec []byte, off int64) error {
			if off > end {
				return errStop
			}
			if off > begin {
				n, _ := c.count(&Record{Type: recordType(rec), Data: rec})
				sum = sum.Add(n)
			}
			return nil
		})
	}
	var derr *damageError
	switch {
	case err == nil, errors.As(err, &derr):
		return sum, nil
	case errors.Is(err, fs.ErrNotExist):
		return s.index.remembered(k, begin, end), nil
	}
	return Counts{}, err
}

// remembered returns what the index knows of a part of a segment that is gone.
func (x *index) remembered(k segmentKey, begin, end int64) Counts {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.tallies[k]
	if t == nil {
		return Counts{}
	}
	c, _, _ := t.behind(begin)
	tail, _, _ := t.behind(end)
	return c.Sub(tail)
}

// Pending returns how much lies behind a position, without reading: samples, bytes
// on disk, and the time of the oldest sample in milliseconds, 0 if there is none.
// It is exact when complete is true, but for what was committed since the last
// sweep. complete is false as long as older generations are still being counted,
// and after a position within a segment was asked for the first time.
func (s *Store) Pending(from Position) (c Counts, bytes, oldest int64, complete bool) {
	oldest, complete = math.MaxInt64, true
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.generations {
		if g.number < from.Generation {
			continue
		}
		for _, seg := range g.segments {
			var offset int64
			if g.number == from.Generation && seg.index <= from.Segment {
				if seg.index < from.Segment {
					continue
				}
				offset = from.Offset
			}
			bytes += max(seg.size-offset, 0)
			n, t, exact := s.index.behind(segmentKey{g.number, seg.index}, offset, g.number == s.current)
			c = c.Add(n)
			oldest = min(oldest, t)
			complete = complete && exact
		}
	}
	if oldest == math.MaxInt64 {
		oldest = 0
	}
	if !complete {
		wake(s.wakeIndex)
	}
	return c, bytes, oldest, complete
}

// behind asks one tally, and has the detail counted if it lacks.
func (x *index) behind(k segmentKey, offset int64, running bool) (Counts, int64, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.tallies[k]
	if t == nil {
		return Counts{}, math.MaxInt64, running // the next sweep counts it
	}
	t.asked = time.Now()
	c, oldest, exact := t.behind(offset)
	if !exact && t.marks == nil {
		x.wanted[k] = struct{}{}
	}
	return c, oldest, exact && (t.complete || running)
}
