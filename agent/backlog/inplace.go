package backlog

import (
	"os"
	"path/filepath"
	"slices"
)

// inPlace enters what could not be moved out of wal/ into the generation that it
// belongs to, where it is read: newest, the newest on disk, nil if there is none to
// be had, or another one that exists in the inventory only. It returns that one, and
// nil when nothing is left in wal/.
func (a *adoption) inPlace(newest *generation, damaged func(path string, err error)) *generation {
	wal, err := listWAL(a.walDir)
	if err != nil {
		damaged(a.walDir, err)
		return nil
	}
	names := append(wal.segments, wal.strays...)
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	g := newest
	if g == nil || slices.ContainsFunc(names, func(i int) bool { return a.conflict(g, i) }) {
		n := a.next()
		a.numbers = append(a.numbers, n)
		g = &generation{number: n, dir: a.dir(n), emptySince: n, end: Position{Generation: n}}
	}
	for _, i := range names {
		a.segmentInPlace(g, newest, i)
	}
	slices.SortFunc(g.segments, func(x, y segment) int { return x.index - y.index })
	for _, i := range wal.checkpoints {
		path := filepath.Join(a.walDir, checkpointName(i))
		g.addCheckpoint(checkpoint{index: i, size: dirBytes(path)}).inWAL = true
	}
	if n := len(g.segments); n > 0 {
		g.endsWith(g.segments[n-1])
	}
	return g
}

// segmentInPlace enters segment i of wal/ into g, unless newest has it.
func (a *adoption) segmentInPlace(g, newest *generation, i int) {
	seg := loadSegment(filepath.Join(a.walDir, segmentName(i)), i)
	seg.linked, seg.inWAL = false, true
	if known := g.segment(i); known != nil {
		if seg.size > known.size { // a copy of a directory, made while it was written
			known.size, known.linked = seg.size, false
		}
		known.inWAL = true
		return
	}
	if newest != nil && g != newest && newest.segment(i) != nil && !a.conflict(newest, i) {
		return
	}
	g.segments = append(g.segments, seg)
}

// conflict reports whether a generation has another segment i than wal/.
func (a *adoption) conflict(g *generation, i int) bool {
	if g.segment(i) == nil {
		return false
	}
	path, other := filepath.Join(a.walDir, segmentName(i)), g.segmentPath(i)
	fi, err := os.Lstat(path)
	if err != nil {
		return false
	}
	ofi, err := os.Lstat(other)
	switch {
	case err != nil || os.SameFile(fi, ofi):
		return false
	case !fi.Mode().IsRegular() || !ofi.Mode().IsRegular():
		return true
	}
	return !equalUpTo(path, other, min(fi.Size(), ofi.Size()))
}
