package backlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-kit/log/level"
)

// findSegments enters the segments that upstream has begun since the last call,
// with their links, and says whether there were any. It costs one lstat when
// there were none.
func (s *Store) findSegments() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.running()
	found := false
	for {
		next := 0
		if last, ok := g.last(); ok {
			next = last + 1
		}
		path := filepath.Join(s.walDir, segmentName(next))
		if _, err := os.Lstat(path); err != nil {
			return found
		}
		found = true
		s.addSegment(g, next)
	}
}

// addSegment enters a segment that upstream has begun. Callers hold mu.
func (s *Store) addSegment(g *generation, i int) {
	if n := len(g.segments); n > 0 {
		// Upstream creates a segment after the last write to the one before.
		s.refreshSize(g, &g.segments[n-1])
		s.guard(g.segments[n-1].size)
	}
	seg := segment{index: i, inWAL: true}
	s.linkSegment(g, &seg)
	g.segments = append(g.segments, seg)
}

// linkSegment gives a segment of wal/ its name in the backlog. A failure leaves
// it readable in wal/, and is tried again by the next sweep. Callers hold mu.
func (s *Store) linkSegment(g *generation, seg *segment) {
	if !s.hardLinks || seg.linked {
		return
	}
	err := s.opts.link(filepath.Join(s.walDir, segmentName(seg.index)), g.segmentPath(seg.index))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		s.logLimiter.log(level.Error(s.logger), "Cannot link a segment", err)
		return
	}
	seg.linked = true
}

// refreshSize takes the size of a segment from the disk. Callers hold mu.
func (s *Store) refreshSize(g *generation, seg *segment) {
	if fi, err := os.Stat(s.pathOf(g, seg)); err == nil {
		seg.size = fi.Size()
	}
}

// pathOf returns where a segment can be read. Callers hold mu.
func (s *Store) pathOf(g *generation, seg *segment) string {
	if seg.linked {
		return g.segmentPath(seg.index)
	}
	return filepath.Join(s.walDir, segmentName(seg.index))
}

// checkpointPathOf returns where a checkpoint can be read. Callers hold mu.
func (s *Store) checkpointPathOf(g *generation, c *checkpoint) string {
	if c.linked {
		return g.checkpointPath(c.index)
	}
	return filepath.Join(s.walDir, checkpointName(c.index))
}

// link brings the inventory of the running generation up to date with wal/, and
// links what is new. It returns the indices of segments that upstream deleted
// before they were linked, which happens only without hard links. Callers hold
// op.
func (s *Store) link() (lost []int, err error) {
	s.findSegments()
	segments, checkpoints, err := s.listWAL()
	if err != nil {
		return nil, fmt.Errorf("cannot list the WAL: %w", err)
	}
	lost = s.mergeSegments(segments)
	for _, i := range s.mergeCheckpoints(checkpoints) {
		err := s.linkDir(filepath.Join(s.walDir, checkpointName(i)), s.running().checkpointPath(i))
		if err != nil {
			// Deleted meanwhile, or no space. Nothing depends on it: without a
			// checkpoint, series records are rescued from the segments.
			s.logLimiter.log(level.Warn(s.logger), "Cannot link a checkpoint", err)
			continue
		}
		s.mu.Lock()
		s.running().checkpoint(i).linked = true
		s.mu.Unlock()
	}
	return lost, nil
}

// mergeSegments compares the inventory with a listing of wal/. What the listing
// is too old to know is left alone.
func (s *Store) mergeSegments(listed []int) (lost []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.running()
	for _, i := range listed {
		// Not found one by one, if upstream created and deleted some in between.
		if last, ok := g.last(); !ok || i > last {
			s.addSegment(g, i)
		}
	}
	kept := g.segments[:0]
	for n, seg := range g.segments {
		if len(listed) > 0 && seg.index <= listed[len(listed)-1] {
			_, seg.inWAL = slices.BinarySearch(listed, seg.index)
		}
		if seg.inWAL {
			s.linkSegment(g, &seg)
		}
		if n == len(g.segments)-1 {
			s.refreshSize(g, &seg)
		}
		if seg.inWAL || seg.linked {
			kept = append(kept, seg)
			continue
		}
		lost = append(lost, seg.index)
		g.version++
	}
	g.segments = kept
	return lost
}

// mergeCheckpoints does the same for checkpoints, and returns those to be linked.
// Of several new ones that is only the newest: it will outlast the others.
func (s *Store) mergeCheckpoints(listed []int) (unlinked []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.running()
	for n := range g.checkpoints {
		g.checkpoints[n].inWAL = false
	}
	for n, i := range listed {
		if n < len(listed)-1 && g.checkpoint(i) == nil {
			continue
		}
		c := g.addCheckpoint(checkpoint{index: i, size: dirBytes(filepath.Join(s.walDir, checkpointName(i)))})
		c.inWAL = true
		if s.hardLinks && !c.linked {
			unlinked = append(unlinked, i)
		}
	}
	g.checkpoints = slices.DeleteFunc(g.checkpoints, func(c checkpoint) bool { return !c.inWAL && !c.linked })
	return unlinked
}

// walBytes returns the size of wal/, and how much of it has no link in the backlog:
// checkpoints in the making above all. Of what is linked the size is known; this
// runs four times a second.
func (s *Store) walBytes() (all, stray int64, err error) {
	entries, err := os.ReadDir(s.walDir)
	if err != nil {
		return 0, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.running()
	for _, e := range entries {
		if i, ok := fileNumber(e.Name()); ok {
			if seg := g.segment(i); seg != nil && seg.linked {
				all += seg.size
				continue
			}
		}
		if i, ok := checkpointNumber(e.Name()); ok {
			if c := g.checkpoint(i); c != nil && c.linked {
				all += c.size
				continue
			}
		}
		size := dirBytes(filepath.Join(s.walDir, e.Name())) // of a file: its own
		all += size
		stray += size
	}
	return all, stray, nil
}
