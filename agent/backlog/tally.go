package backlog

import (
	"encoding/binary"
	"slices"
	"sync"
)

// tallies remember how many samples the segments of the running generation hold,
// where the file system has no hard links: upstream deletes them before anybody
// can count.
type tallies struct {
	mu        sync.Mutex // a leaf
	bySegment map[int]*tally
}

// tally is what is known of one segment: for each record with samples, how far it
// is from the end of the one before to its own, and its counts, as varints. A
// segment may hold a hundred thousand records.
type tally struct {
	records []byte
	end     int64 // of the last one
}

func newTallies() *tallies { return &tallies{bySegment: map[int]*tally{}} }

// add enters a record of a segment that ends at an offset.
func (t *tallies) add(segment int, end int64, c Counts) {
	if c == (Counts{}) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.bySegment[segment]
	if s == nil {
		s = &tally{}
		t.bySegment[segment] = s
	}
	for _, n := range []uint64{uint64(end - s.end), c.Floats, c.Histograms, c.Exemplars} {
		s.records = binary.AppendUvarint(s.records, n)
	}
	s.end = end
}

// count returns what is known of the records of a segment that end behind begin and
// not behind end.
func (t *tallies) count(segment int, begin, end int64) (sum Counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.bySegment[segment]
	if s == nil {
		return Counts{}
	}
	next := func(rest []byte) (uint64, []byte) {
		n, size := binary.Uvarint(rest)
		return n, rest[size:]
	}
	var offset int64
	for rest := s.records; len(rest) > 0; {
		var delta uint64
		var c Counts
		delta, rest = next(rest)
		c.Floats, rest = next(rest)
		c.Histograms, rest = next(rest)
		c.Exemplars, rest = next(rest)
		if offset += int64(delta); offset > begin && offset <= end {
			sum = sum.Add(c)
		}
	}
	return sum
}

// segments returns those of which anything is known, ascending.
func (t *tallies) segments() (known []int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.bySegment {
		known = append(known, i)
	}
	slices.Sort(known)
	return known
}

func (t *tallies) forget(segments ...int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, i := range segments {
		delete(t.bySegment, i)
	}
}
