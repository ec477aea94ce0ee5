package backlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// inventory is what is known to be on disk, and what of it is needed.
type inventory struct {
	walDir  string
	rootDir string // backlog/
	// hardLinks is false where the file system has none. Then the running
	// generation is read from wal/, and what upstream deletes there is gone.
	hardLinks bool
	current   int // number of the running generation
	// numberOnly says that the running generation is not on disk, because nothing
	// can be written. What lies in wal/ belongs to inPlace then.
	numberOnly bool
	// inPlace is the number of the finished generation that is read from wal/; 0 if
	// none is. Guarded by mu.
	inPlace int
	// broken are generations of which nothing can be read. They stay on disk.
	broken []brokenGeneration // by number, ascending

	// mu is never held while content is read or written or a callback runs. It is
	// taken under Store.op and syncer.mu, never the other way round; room.mu and
	// the leaves are taken under it.
	mu          sync.Mutex
	generations []*generation // by number, ascending; the last is the running one
	released    Position      // nobody needs anything before it
	evicted     Position      // eviction has gone up to here in this run
}

type brokenGeneration struct {
	number int
	err    error
}

// running returns the generation of this run. Callers hold mu.
func (inv *inventory) running() *generation { return inv.generations[len(inv.generations)-1] }

// ofWAL returns the generation that the files of wal/ belong to. Callers hold mu.
func (inv *inventory) ofWAL() *generation {
	if g := inv.generation(inv.inPlace); g != nil {
		return g
	}
	return inv.running()
}

// generation returns the one of that number, or nil. Callers hold mu.
func (inv *inventory) generation(number int) *generation {
	if g := inv.generationFrom(number); g != nil && g.number == number {
		return g
	}
	return nil
}

// generationFrom returns the oldest generation not below a number, or nil. Callers
// hold mu.
func (inv *inventory) generationFrom(number int) *generation {
	for _, g := range inv.generations {
		if g.number >= number {
			return g
		}
	}
	return nil
}

// segmentPath returns where a segment can be read. Callers hold mu.
func (inv *inventory) segmentPath(g *generation, seg *segment) string {
	if seg.linked {
		return g.segmentPath(seg.index)
	}
	return inv.walSegment(seg.index)
}

// checkpointPath returns where a checkpoint can be read. Callers hold mu.
func (inv *inventory) checkpointPath(g *generation, c *checkpoint) string {
	if c.linked {
		return g.checkpointPath(c.index)
	}
	return inv.walCheckpoint(c.index)
}

func (inv *inventory) walSegment(i int) string {
	return filepath.Join(inv.walDir, segmentName(i))
}

func (inv *inventory) walCheckpoint(i int) string {
	return filepath.Join(inv.walDir, checkpointName(i))
}

// oldest returns the oldest position that can be read and that was not released.
func (inv *inventory) oldest() Position {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for _, g := range inv.generations {
		i := 0
		if g.number < inv.released.Generation {
			continue
		}
		if g.number == inv.released.Generation {
			i = inv.released.Segment
		}
		if i, ok := g.from(i); ok {
			return Position{Generation: g.number, Segment: i}
		}
	}
	return Position{Generation: inv.current}
}

// walEnd returns the position behind the last byte of the WAL right now.
func (inv *inventory) walEnd() Position {
	if inv.numberOnly {
		return Position{Generation: inv.current}
	}
	inv.mu.Lock()
	i, ok := inv.running().last()
	inv.mu.Unlock()
	if ok && !exists(inv.walSegment(i)) { // long ago
		if wal, err := listWAL(inv.walDir); err == nil && len(wal.segments) > 0 {
			i = wal.segments[0]
		}
	}
	end := Position{Generation: inv.current}
	for ; ; i++ { // the inventory may be a segment behind
		fi, err := os.Stat(inv.walSegment(i))
		if err != nil {
			return end
		}
		end.Segment, end.Offset = i, fi.Size()
	}
}

// gone reports whether data is missing between a position in another generation
// and the beginning of g, the next one there is. Callers hold mu.
func (inv *inventory) gone(at Position, g *generation, inOrder bool) bool {
	switch {
	case at.Compare(inv.evicted) < 0 || !g.explained():
		return true
	case inOrder || g.emptySince <= at.Generation:
		return false
	default:
		return at.Compare(inv.released) >= 0
	}
}

// unreadable says why generations from one number up to another, excluded, cannot be
// read; nil if there are none of the kind.
func (inv *inventory) unreadable(from, to int) (err error) {
	for _, b := range inv.broken {
		if from <= b.number && b.number < to {
			err = errors.Join(err, fmt.Errorf("cannot read generation %d: %w", b.number, b.err))
		}
	}
	return err
}

// outlook is what a reader finds behind a segment.
type outlook struct {
	ok          bool // there is one
	segment     int
	path        string
	size        int64
	strange     bool
	contextFree bool
	later       bool // there is another one behind it: nothing more is written to it

	// Of the generation:
	version int
	removed bool
	end     Position
}

// lookAhead returns the oldest segment of a generation not below i.
func (inv *inventory) lookAhead(g *generation, i int) outlook {
	inv.mu.Lock()
	o := outlook{version: g.version, removed: g.removed, end: g.end, segment: i}
	if known, ok := g.from(i); ok {
		seg := g.segment(known)
		o.ok, o.segment, o.path, o.size = true, known, inv.segmentPath(g, seg), seg.size
		o.strange, o.contextFree = seg.strange, seg.contextFree
	} else if last, ok := g.last(); ok {
		o.segment = max(i, last+1)
	}
	_, later := g.from(o.segment + 1)
	inv.mu.Unlock()
	if g.number != inv.current {
		o.later = true
		return o
	}
	if inv.numberOnly {
		return o
	}
	if !o.ok { // upstream may have begun it since the last sweep
		o.path = inv.walSegment(o.segment)
		o.ok = exists(o.path)
	}
	o.later = later || o.ok && exists(inv.walSegment(o.segment+1))
	return o
}

// later reports whether there is a segment behind segment i.
func (inv *inventory) later(g *generation, i int) bool { return inv.lookAhead(g, i+1).ok }

// vanished takes a segment out of the inventory that is not on disk. Where upstream
// deletes what is not linked, the next sweep will have the right checkpoint to go on
// with, and until then it is the end (io.EOF); elsewhere somebody removed the file.
func (inv *inventory) vanished(g *generation, i int) error {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	seg := g.segment(i)
	if seg == nil {
		return nil
	}
	if !seg.linked {
		return io.EOF
	}
	if exists(inv.segmentPath(g, seg)) {
		return nil // it was in wal/ only a moment ago
	}
	if seg.inWAL && exists(inv.walSegment(i)) {
		seg.linked = false // the next sweep links it again
		return nil
	}
	g.removeSegment(i)
	return nil
}

// learn enters what was found out about a complete segment by reading all of it.
func (inv *inventory) learn(g *generation, i int, what func(*segment)) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if seg := g.segment(i); seg != nil {
		what(seg)
	}
}

// generationNumbers lists the generations on disk, ascending, after removing what
// an interrupted run left half done. What bears the name of one and cannot be read
// is listed as well: its number must not be used again.
func generationNumbers(root string, damaged func(path string, err error)) ([]int, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), tmpSuffix) {
			path := filepath.Join(root, e.Name())
			if err := os.RemoveAll(path); err != nil {
				damaged(path, err)
			}
			continue
		}
		if n, ok := fileNumber(e.Name()); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers) // by number: names get longer than eight digits one day
	return numbers, nil
}
