package backlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/prometheus/prometheus/tsdb/fileutil"
)

// linkFunc gives a file a second name: os.Link.
type linkFunc func(from, to string) error

// linkDir makes a flat directory appear under a second name, whole or not at all.
func (link linkFunc) linkDir(from, to string) error {
	tmp := to + tmpSuffix
	if err := link.linkFiles(from, tmp); err != nil {
		return err
	}
	return fileutil.Rename(tmp, to)
}

// linkFiles links the files of a flat directory into a new one, and syncs that.
func (link linkFunc) linkFiles(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.MkdirAll(to, dirMode); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	for _, e := range entries {
		if err == nil {
			err = link(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
		}
	}
	if err == nil {
		err = syncPath(to)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(to))
	}
	return nil
}

// linker keeps the inventory of the running generation up to date with wal/, and
// gives what is new there its second name.
type linker struct {
	inv    *inventory
	room   *room
	link   linkFunc
	logger log.Logger
	limit  *logLimiter
	listed listing // of wal/; guarded by Store.op
}

// findSegments enters the segments that upstream has begun since the last call,
// with their links, and reports whether there were any. It costs one lstat when
// there were none.
func (l *linker) findSegments() bool {
	inv := l.inv
	if inv.numberOnly {
		return false // what lies in wal/ is of another run
	}
	found := false
	for {
		inv.mu.Lock()
		next := nextIndex(inv.running())
		inv.mu.Unlock()
		if !exists(inv.walSegment(next)) {
			return found
		}
		inv.mu.Lock()
		if g := inv.running(); next == nextIndex(g) { // nobody was faster
			found = true
			l.addSegment(g, next)
		}
		inv.mu.Unlock()
	}
}

func nextIndex(g *generation) int {
	if last, ok := g.last(); ok {
		return last + 1
	}
	return 0
}

// addSegment enters a segment that upstream has begun. Callers hold inv.mu.
func (l *linker) addSegment(g *generation, i int) {
	if n := len(g.segments); n > 0 {
		// Upstream creates a segment after the last write to the one before.
		l.refreshSize(g, &g.segments[n-1])
		l.room.take(g.segments[n-1].size)
	}
	seg := segment{index: i, inWAL: true}
	l.linkSegment(g, &seg)
	g.segments = append(g.segments, seg)
}

// linkSegment gives a segment of wal/ its name in the backlog. A failure leaves
// it readable in wal/, and is tried again by the next sweep. Callers hold inv.mu.
func (l *linker) linkSegment(g *generation, seg *segment) {
	if !l.inv.hardLinks || seg.linked {
		return
	}
	err := l.link(l.inv.walSegment(seg.index), g.segmentPath(seg.index))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		l.limit.log(level.Error(l.logger), "Cannot link a segment", err)
		return
	}
	seg.linked = true
}

// refreshSize takes the size of a segment from the disk. Callers hold inv.mu.
func (l *linker) refreshSize(g *generation, seg *segment) {
	if fi, err := os.Stat(l.inv.segmentPath(g, seg)); err == nil {
		seg.size = fi.Size()
	}
}

// update compares the inventory with wal/, and links what is new. It returns the
// indices of segments that upstream deleted before they were linked, which happens
// only without hard links. Callers hold Store.op.
func (l *linker) update() (lost []int, err error) {
	if l.inv.numberOnly {
		return nil, nil
	}
	l.findSegments()
	if l.isAsListed() {
		l.refreshLast()
		return nil, nil
	}
	l.listed.begin(l.inv.walDir)
	wal, err := listWAL(l.inv.walDir)
	if err != nil {
		l.listed = listing{}
		return nil, fmt.Errorf("cannot list the WAL: %w", err)
	}
	lost = l.mergeSegments(wal.segments)
	for _, i := range l.mergeCheckpoints(wal.checkpoints) {
		l.inv.mu.Lock()
		g := l.inv.running()
		l.inv.mu.Unlock()
		if err := l.link.linkDir(l.inv.walCheckpoint(i), g.checkpointPath(i)); err != nil {
			// Deleted meanwhile, or no space. Nothing depends on it: without a
			// checkpoint, series records are rescued from the segments.
			l.limit.log(level.Warn(l.logger), "Cannot link a checkpoint", err)
			continue
		}
		l.inv.mu.Lock()
		g.checkpoint(i).linked = true
		l.inv.mu.Unlock()
	}
	return lost, nil
}

// isAsListed reports whether the inventory has all that lies in wal/, and nothing there
// is without its second name. Callers hold Store.op.
func (l *linker) isAsListed() bool {
	if l.inv.numberOnly {
		return true // what lies there is of another run
	}
	return l.allLinked() && l.listed.holds(l.inv.walDir)
}

func (l *linker) allLinked() bool {
	l.inv.mu.Lock()
	defer l.inv.mu.Unlock()
	g := l.inv.running()
	return l.inv.hardLinks &&
		!slices.ContainsFunc(g.segments, func(s segment) bool { return s.inWAL && !s.linked }) &&
		!slices.ContainsFunc(g.checkpoints, func(c checkpoint) bool { return c.inWAL && !c.linked })
}

// refreshLast takes the size of the segment being written from the disk.
func (l *linker) refreshLast() {
	l.inv.mu.Lock()
	defer l.inv.mu.Unlock()
	if g := l.inv.running(); len(g.segments) > 0 {
		l.refreshSize(g, &g.segments[len(g.segments)-1])
	}
}

// mergeSegments compares the inventory with a listing of wal/. What the listing
// is too old to know is left alone.
func (l *linker) mergeSegments(listed []int) (lost []int) {
	l.inv.mu.Lock()
	defer l.inv.mu.Unlock()
	g := l.inv.running()
	for _, i := range listed {
		// Not found one by one, if upstream created and deleted some in between.
		if i >= nextIndex(g) {
			l.addSegment(g, i)
		}
	}
	kept := g.segments[:0]
	for n, seg := range g.segments {
		if len(listed) > 0 && seg.index <= listed[len(listed)-1] {
			_, seg.inWAL = slices.BinarySearch(listed, seg.index)
		}
		if seg.inWAL {
			l.linkSegment(g, &seg)
		}
		if n == len(g.segments)-1 {
			l.refreshSize(g, &seg)
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
func (l *linker) mergeCheckpoints(listed []int) (unlinked []int) {
	inv := l.inv
	inv.mu.Lock()
	defer inv.mu.Unlock()
	g := inv.running()
	for n := range g.checkpoints {
		g.checkpoints[n].inWAL = false
	}
	for n, i := range listed {
		if n < len(listed)-1 && g.checkpoint(i) == nil {
			continue
		}
		c := g.addCheckpoint(checkpoint{index: i, size: dirBytes(inv.walCheckpoint(i))})
		c.inWAL = true
		if inv.hardLinks && !c.linked {
			unlinked = append(unlinked, i)
		}
	}
	g.checkpoints = slices.DeleteFunc(g.checkpoints, func(c checkpoint) bool { return !c.inWAL && !c.linked })
	return unlinked
}
