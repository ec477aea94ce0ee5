package backlog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
)

// count is Count and Pending: how much lies between positions.
type count struct {
	inv     *inventory
	tallies *tallies
	closed  <-chan struct{}
}

// part is what lies between two positions of one segment: the records that end
// behind begin and not behind end.
type part struct {
	g          *generation
	segment    int
	begin, end int64

	path  string  // "": upstream has deleted it
	whole *Counts // if all of the segment is asked for, and known
	final bool    // nothing more is written to it
}

// between reads what is between two positions; see Store.Count.
func (c *count) between(from, to Position) (sum Counts, err error) {
	for _, p := range c.parts(from, to) {
		select {
		case <-c.closed:
			return sum, errors.Join(err, fmt.Errorf("cannot count samples: %w", os.ErrClosed))
		default:
		}
		n, perr := c.part(p)
		sum = sum.Add(n)
		if perr != nil {
			err = errors.Join(err, fmt.Errorf("cannot count the samples of segment %08d/%08d: %w", p.g.number, p.segment, perr))
		}
	}
	return sum, err
}

// parts returns the segments with data between two positions: those on disk, and
// those which upstream deleted but of which the tallies know.
func (c *count) parts(from, to Position) (parts []part) {
	deleted := c.tallies.segments() // before, or one might be deleted in between
	c.inv.mu.Lock()
	defer c.inv.mu.Unlock()
	for _, g := range c.inv.generations {
		last := len(g.segments) - 1
		for n := range g.segments {
			seg := &g.segments[n]
			p := part{g: g, segment: seg.index, path: c.inv.segmentPath(g, seg), final: n < last || g.number != c.inv.current}
			if p.cut(from, to) {
				if p.all() {
					p.whole = seg.counts
				}
				parts = append(parts, p)
			}
		}
	}
	running := c.inv.running()
	for _, i := range deleted {
		if p := (part{g: running, segment: i}); running.segment(i) == nil && p.cut(from, to) {
			parts = append(parts, p)
		}
	}
	return parts
}

// cut sets begin and end, and reports whether there is anything in between.
func (p *part) cut(from, to Position) bool {
	order := func(other Position) int {
		return cmp.Or(cmp.Compare(p.g.number, other.Generation), cmp.Compare(p.segment, other.Segment))
	}
	p.begin, p.end = 0, math.MaxInt64
	if order(from) == 0 {
		p.begin = from.Offset
	}
	if order(to) == 0 {
		p.end = to.Offset
	}
	return order(from) >= 0 && order(to) <= 0 && p.begin < p.end
}

func (p *part) all() bool { return p.begin == 0 && p.end == math.MaxInt64 }

func (c *count) part(p part) (sum Counts, err error) {
	if p.whole != nil {
		return *p.whole, nil
	}
	context, err := false, fs.ErrNotExist
	if p.path != "" {
		counter := newCounter()
		err = scanFile(p.path, func(rec []byte, off int64) error {
			switch {
			case off > p.end:
				return errStop
			case isContext(recordType(rec)):
				context = true
			case off > p.begin:
				sum = sum.Add(counter.count(rec))
			}
			return nil
		})
	}
	var derr *damageError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if p.g.number == c.inv.current {
			return c.tallies.count(p.segment, p.begin, p.end), nil
		}
		return Counts{}, nil
	case errors.As(err, &derr), isNoFile(err): // readers tell, who know whether it matters
		err, context = nil, true
	}
	if err == nil && p.final && p.all() {
		c.inv.learn(p.g, p.segment, func(seg *segment) { seg.counts, seg.contextFree = &sum, !context })
	}
	return sum, err
}

// scraped is Store.Scraped.
func (c *count) scraped(from, to Position) (all []Scraped, err error) {
	parts := c.parts(from, to)
	for len(parts) > 0 {
		n := 1
		for n < len(parts) && parts[n].g == parts[0].g {
			n++
		}
		s := Scraped{Generation: parts[0].g.number}
		for _, p := range parts[:n] {
			err = errors.Join(err, p.times(func(t int64) bool {
				s.First = t
				return false
			}))
			if s.First != 0 {
				break
			}
		}
		for _, p := range slices.Backward(parts[:n]) {
			err = errors.Join(err, p.times(func(t int64) bool {
				s.Last = max(s.Last, t)
				return true
			}))
			if s.Last != 0 {
				all = append(all, s)
				break
			}
		}
		parts = parts[n:]
	}
	return all, err
}

// times calls see with the time of each record of float samples, until it returns false or
// a damage is met.
func (p part) times(see func(t int64) (more bool)) error {
	if p.path == "" {
		return nil
	}
	counter := newCounter()
	err := scanFile(p.path, func(rec []byte, off int64) error {
		if off > p.end {
			return errStop
		}
		counter.count(rec)
		if t, ok := counter.lastFloat(); ok && off > p.begin && !see(t) {
			return errStop
		}
		return nil
	})
	var derr *damageError
	if err == nil || errors.As(err, &derr) || isNoFile(err) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("cannot read the times in segment %08d/%08d: %w", p.g.number, p.segment, err)
}

// bytes returns the size of what lies behind a position; see Store.Pending.
func (c *count) bytes(from Position) (sum int64) {
	c.inv.mu.Lock()
	defer c.inv.mu.Unlock()
	for _, g := range c.inv.generations {
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
			sum += max(seg.size-offset, 0)
		}
	}
	return sum
}
