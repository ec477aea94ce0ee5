package backlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// Release says that nobody needs anything before a position any more. The caller
// has made sure that its marks say so on disk: after a restart, a mark that points
// to what was released finds data Missing.
//
// Whole segments before the position are unlinked, in order, and finished
// generations before it. A segment that is still in wal/ waits until upstream has
// truncated it: it costs nothing until then, and after it a checkpoint holds the
// series. While a sweep is under way, Release returns at once and leaves the work
// to the next one.
func (s *Store) Release(to Position) error {
	s.mu.Lock()
	s.released = maxPosition(s.released, to)
	s.mu.Unlock()
	if !s.op.TryLock() {
		return nil
	}
	defer s.op.Unlock()
	return s.unlinkReleased()
}

// unlinkReleased unlinks what lies before the released position. Callers hold op.
func (s *Store) unlinkReleased() error {
	s.mu.Lock()
	released := s.released
	var done []*generation
	for _, g := range s.generations {
		if g.number < released.Generation && g.number != s.current {
			done = append(done, g)
		}
	}
	g := s.generation(released.Generation)
	var going []int
	next, some := 0, false
	if g != nil {
		going, next, some = s.unneeded(g, released.Segment)
	}
	s.mu.Unlock()
	for _, g := range done {
		if err := s.removeGeneration(g); err != nil {
			return err
		}
	}
	if !some {
		return nil
	}
	if err := s.rescue(g, going, next); err != nil {
		return err
	}
	return errors.Join(s.unlinkSegments(g, going), s.prune(g))
}

// unneeded returns the segments of a generation below i that may be unlinked, and
// the one that is the oldest then. The last segment stays in any case: marks point
// to its end. Callers hold mu.
func (s *Store) unneeded(g *generation, i int) (going []int, next int, some bool) {
	for _, seg := range g.segments[:max(0, len(g.segments)-1)] {
		if seg.index >= i || seg.inWAL {
			break
		}
		going = append(going, seg.index)
	}
	if len(going) == 0 {
		return nil, 0, false
	}
	return going, g.segments[len(going)].index, true
}

// unlinkSegments removes segments, oldest first, under all names. Callers hold op.
func (s *Store) unlinkSegments(g *generation, going []int) error {
	var paths []string
	s.mu.Lock()
	for _, i := range going {
		seg := g.segment(i)
		if seg == nil {
			continue
		}
		if seg.inWAL {
			paths = append(paths, filepath.Join(s.walDir, segmentName(i)))
		}
		if seg.linked {
			paths = append(paths, g.segmentPath(i))
		}
	}
	g.segments = slices.DeleteFunc(g.segments, func(seg segment) bool { return slices.Contains(going, seg.index) })
	g.version++ // before the files go, so that a reader who misses one knows why
	s.mu.Unlock()
	s.index.forget(g.number, going...)
	for _, path := range paths {
		if err := removeFile(path); err != nil {
			return fmt.Errorf("cannot remove a segment: %w", err)
		}
	}
	return nil
}

// removeGeneration removes a finished generation as a whole. Callers hold op.
func (s *Store) removeGeneration(g *generation) error {
	s.mu.Lock()
	g.removed = true
	g.removedLast, _ = g.last()
	g.segments, g.checkpoints, g.series = nil, nil, nil
	g.version++
	s.generations = slices.DeleteFunc(s.generations, func(other *generation) bool { return other == g })
	s.mu.Unlock()
	s.index.forgetGeneration(g.number)
	if err := removeDir(g.dir); err != nil {
		return fmt.Errorf("cannot remove generation %d: %w", g.number, err)
	}
	return nil
}
