package backlog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	seriesDir      = "series"
	emptySinceFile = "empty-since"
)

// generation is what is known of one directory below backlog/. Its fields are
// guarded by inventory.mu, but for the constant ones. So are those of what is in it.
type generation struct {
	number int    // constant
	dir    string // constant

	// emptySince is the lowest number n such that all generations from n up to
	// this one held no samples and were dropped for it; number if there are
	// none. A mark that points into one of them has lost nothing. It is kept in
	// a file, because a crash loop drops generations faster than marks move.
	emptySince int // constant

	// end is the position behind the last segment of a finished generation, as it
	// was found at start. A reader who comes to the end before it has missed
	// something.
	end Position // constant

	segments    []segment    // by index, ascending, perhaps with holes
	checkpoints []checkpoint // by index, ascending
	series      []rescued    // by upTo, ascending
	seriesErr   error        // constant: why series/ cannot be listed; nil in general

	// version counts removals. A reader that misses a file it was about to read
	// for context begins with the context again if it has changed.
	version int

	// removed says that the whole generation is gone. Readers may still hold on
	// to it.
	removed bool
}

// segment is one file of samples.
type segment struct {
	index  int
	size   int64 // of the segment being written: as the last sweep found it
	linked bool  // in the directory of the generation
	inWAL  bool  // in wal/; possible in the running generation only

	// strange says that it could not be looked at or is no regular file: a
	// directory, a pipe, a link to nowhere. Then size says nothing.
	strange bool
	// contextFree says that it is known to hold no series and metadata records.
	contextFree bool
	counts      *Counts // of all of it, if that is known
}

// checkpoint is one directory of series records by upstream.
type checkpoint struct {
	index  int
	size   int64
	linked bool
	inWAL  bool
	state  soundness
	// failures is how often in a row it could not be read.
	failures int
}

type soundness int

const (
	unverified soundness = iota
	sound
	damaged
)

// rescued is one directory below series/.
type rescued struct {
	upTo int // the records come from unlinked segments up to this one
	size int64
}

// loadGeneration reads a directory below backlog/. Its cost is that of listing it:
// no content is read. It fails only if there is nothing to be had of the
// generation; damaged is called for a part that cannot be read.
func loadGeneration(root string, number int, damaged func(path string, err error)) (*generation, error) {
	g := &generation{number: number, dir: filepath.Join(root, segmentName(number)), emptySince: number, end: Position{Generation: number}}
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(g.dir, e.Name())
		if strings.HasSuffix(e.Name(), tmpSuffix) {
			if err := os.RemoveAll(path); err != nil {
				damaged(path, err)
			}
			continue
		}
		if i, ok := checkpointNumber(e.Name()); ok && e.IsDir() {
			g.checkpoints = append(g.checkpoints, checkpoint{index: i, size: dirBytes(path), linked: true})
		}
		if i, ok := fileNumber(e.Name()); ok {
			g.segments = append(g.segments, loadSegment(path, i))
		}
	}
	// By number: names get longer than eight digits one day.
	slices.SortFunc(g.checkpoints, func(a, b checkpoint) int { return a.index - b.index })
	slices.SortFunc(g.segments, func(a, b segment) int { return a.index - b.index })
	if n := len(g.segments); n > 0 {
		g.endsWith(g.segments[n-1])
	}
	if g.seriesErr = g.loadSeries(damaged); g.seriesErr != nil {
		damaged(filepath.Join(g.dir, seriesDir), g.seriesErr)
	}
	g.loadEmptySince()
	return g, nil
}

// endsWith sets the end, before anybody else knows of g.
func (g *generation) endsWith(last segment) {
	g.end.Segment, g.end.Offset = last.index, last.size
	if last.strange {
		g.end.Segment++
	}
}

func loadSegment(path string, i int) segment {
	fi, err := os.Stat(path)
	if err != nil || !fi.Mode().IsRegular() {
		return segment{index: i, linked: true, strange: true}
	}
	return segment{index: i, size: fi.Size(), linked: true}
}

func (g *generation) loadSeries(damaged func(path string, err error)) error {
	dir := filepath.Join(g.dir, seriesDir)
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && exists(dir): // a link to nowhere
		return &fs.PathError{Op: "open", Path: dir, Err: errNotRegular}
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasSuffix(e.Name(), tmpSuffix) {
			if err := os.RemoveAll(path); err != nil {
				damaged(path, err)
			}
			continue
		}
		if i, ok := fileNumber(e.Name()); ok {
			g.series = append(g.series, rescued{upTo: i, size: dirBytes(path)})
		}
	}
	slices.SortFunc(g.series, func(a, b rescued) int { return a.upTo - b.upTo })
	return nil
}

// loadEmptySince reads emptySinceFile. One that cannot be read or understood costs
// a false alarm at worst.
func (g *generation) loadEmptySince() {
	data, err := os.ReadFile(filepath.Join(g.dir, emptySinceFile))
	if err != nil {
		return
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && n > 0 && n < g.number {
		g.emptySince = n
	}
}

// first returns the index of the oldest kept segment.
func (g *generation) first() (int, bool) {
	if len(g.segments) == 0 {
		return 0, false
	}
	return g.segments[0].index, true
}

// last returns the index of the newest segment.
func (g *generation) last() (int, bool) {
	if len(g.segments) == 0 {
		return 0, false
	}
	return g.segments[len(g.segments)-1].index, true
}

func (g *generation) segment(i int) *segment {
	n, ok := slices.BinarySearchFunc(g.segments, i, func(s segment, i int) int { return s.index - i })
	if !ok {
		return nil
	}
	return &g.segments[n]
}

// from returns the index of the oldest segment that is not below i.
func (g *generation) from(i int) (int, bool) {
	n, _ := slices.BinarySearchFunc(g.segments, i, func(s segment, i int) int { return s.index - i })
	if n == len(g.segments) {
		return 0, false
	}
	return g.segments[n].index, true
}

func (g *generation) removeSegment(i int) {
	g.segments = slices.DeleteFunc(g.segments, func(s segment) bool { return s.index == i })
}

func (g *generation) checkpoint(i int) *checkpoint {
	for n := range g.checkpoints {
		if g.checkpoints[n].index == i {
			return &g.checkpoints[n]
		}
	}
	return nil
}

// addCheckpoint enters a checkpoint in order; a known one is left as it is.
func (g *generation) addCheckpoint(c checkpoint) *checkpoint {
	if known := g.checkpoint(c.index); known != nil {
		return known
	}
	g.checkpoints = append(g.checkpoints, c)
	slices.SortFunc(g.checkpoints, func(a, b checkpoint) int { return a.index - b.index })
	return g.checkpoint(c.index)
}

// explained reports whether the segments below the oldest kept one are gone in an
// orderly manner: what they defined was put somewhere first.
func (g *generation) explained() bool {
	f, ok := g.first()
	if !ok || f == 0 {
		return true
	}
	if n := len(g.checkpoints); n > 0 && g.checkpoints[n-1].index >= f-1 {
		return true
	}
	n := len(g.series)
	return n > 0 && g.series[n-1].upTo >= f-1
}

// bytes returns the size of its directory, and of what it has in wal/: a file with two
// names is in both.
func (g *generation) bytes() (linked, inWAL int64) {
	add := func(size int64, isLinked, isInWAL bool) {
		if isLinked {
			linked += size
		}
		if isInWAL {
			inWAL += size
		}
	}
	for _, s := range g.segments {
		add(s.size, s.linked, s.inWAL)
	}
	for _, c := range g.checkpoints {
		add(c.size, c.linked, c.inWAL)
	}
	for _, r := range g.series {
		linked += r.size
	}
	return linked, inWAL
}

func (g *generation) segmentPath(i int) string { return filepath.Join(g.dir, segmentName(i)) }

func (g *generation) checkpointPath(i int) string { return filepath.Join(g.dir, checkpointName(i)) }

func (g *generation) seriesPath(upTo int) string {
	return filepath.Join(g.dir, seriesDir, segmentName(upTo))
}

// holdsSamples reports whether there may be samples. It reads up to the first record
// of them, which is one of the first records of every generation but those that
// were killed right after their start. What cannot be read might be samples, except
// a record cut at the very end: it was never committed.
func (g *generation) holdsSamples() bool {
	for n, seg := range g.segments {
		found := false
		err := scanFile(g.segmentPath(seg.index), func(rec []byte, _ int64) error {
			if isSamples(recordType(rec)) {
				found = true
				return errStop
			}
			return nil
		})
		var derr *damageError
		cutAtEnd := errors.As(err, &derr) && derr.cut && n == len(g.segments)-1
		if found || err != nil && !cutAtEnd {
			return true
		}
	}
	return false
}
