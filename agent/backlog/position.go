package backlog

import (
	"cmp"
	"fmt"
)

// Position is a record boundary in the backlog.
type Position struct {
	// Generation is the number of the run that wrote the segment, from 1 on.
	Generation int `json:"generation"`
	// Segment is upstream's segment number, from 0 on in every generation.
	Segment int `json:"segment"`
	// Offset is the number of bytes of the segment before the position, as
	// wlog.LiveReader.Offset reports it.
	Offset int64 `json:"offset"`
}

// Compare returns -1, 0 or +1 when p lies before, at, or behind q.
func (p Position) Compare(q Position) int {
	return cmp.Or(
		cmp.Compare(p.Generation, q.Generation),
		cmp.Compare(p.Segment, q.Segment),
		cmp.Compare(p.Offset, q.Offset),
	)
}

// IsZero reports whether p names no position. A reader from there begins with the
// oldest data on disk.
func (p Position) IsZero() bool { return p == Position{} }

// String returns the position as "00000007/00000004:12345".
func (p Position) String() string {
	return fmt.Sprintf("%08d/%08d:%d", p.Generation, p.Segment, p.Offset)
}

func maxPosition(a, b Position) Position {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}

// Counts are numbers of samples and exemplars.
type Counts struct {
	Floats     uint64 `json:"floats"`
	Histograms uint64 `json:"histograms"` // integer and float native histograms, custom buckets included
	Exemplars  uint64 `json:"exemplars"`
}

// Samples returns the number of samples: floats and native histograms.
func (c Counts) Samples() uint64 { return c.Floats + c.Histograms }

// Add returns the sum of c and d.
func (c Counts) Add(d Counts) Counts {
	return Counts{c.Floats + d.Floats, c.Histograms + d.Histograms, c.Exemplars + d.Exemplars}
}

// Sub returns c less d, which must not exceed c in any term.
func (c Counts) Sub(d Counts) Counts {
	return Counts{c.Floats - d.Floats, c.Histograms - d.Histograms, c.Exemplars - d.Exemplars}
}
