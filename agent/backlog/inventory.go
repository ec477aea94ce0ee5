package backlog

import (
	"errors"
	"fmt"
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

// generation is what the store knows of one directory below backlog/. Its
// fields are guarded by Store.mu, but for the constant ones.
type generation struct {
	number int    // constant
	dir    string // constant

	// emptySince is the lowest number n such that all generations from n up to
	// this one held no samples and were dropped for it; number if there are
	// none. A mark that points into one of them has lost nothing. It is kept in
	// a file, because a crash loop drops generations faster than marks move.
	emptySince int // constant

	segments    []segment    // by index, ascending, perhaps with holes
	checkpoints []checkpoint // by index, ascending
	series      []rescued    // by upTo, ascending

	// version counts removals. A reader that misses a file it was about to read
	// for context begins with the context again if it has changed.
	version int

	// removed says that the whole generation is gone, and removedLast which its
	// last segment was: readers may still hold on to it.
	removed     bool
	removedLast int
}

// segment is one file of samples.
type segment struct {
	index  int
	size   int64 // of the segment being written: as the last sweep found it
	linked bool  // in the directory of the generation
	inWAL  bool  // in wal/; possible in the running generation only
}

// checkpoint is one directory of series records by upstream.
type checkpoint struct {
	index  int
	size   int64
	linked bool
	inWAL  bool
	state  soundness
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

// loadGeneration reads a directory below backlog/. Its cost is that of listing
// it: no content is read.
func loadGeneration(root string, number int) (*generation, error) {
	g := &generation{number: number, dir: filepath.Join(root, segmentName(number)), emptySince: number}
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(g.dir, e.Name())
		if strings.HasSuffix(e.Name(), tmpSuffix) {
			if err := os.RemoveAll(path); err != nil {
				return nil, err
			}
			continue
		}
		if i, ok := checkpointNumber(e.Name()); ok && e.IsDir() {
			g.checkpoints = append(g.checkpoints, checkpoint{index: i, size: dirBytes(path), linked: true})
			continue
		}
		i, ok := fileNumber(e.Name())
		if !ok || e.IsDir() {
			continue
		}
		fi, err := e.Info()
		if err != nil {
			return nil, err
		}
		g.segments = append(g.segments, segment{index: i, size: fi.Size(), linked: true})
	}
	if err := g.loadSeries(); err != nil {
		return nil, err
	}
	return g, g.loadEmptySince()
}

func (g *generation) loadSeries() error {
	entries, err := os.ReadDir(filepath.Join(g.dir, seriesDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(g.dir, seriesDir, e.Name())
		if strings.HasSuffix(e.Name(), tmpSuffix) {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			continue
		}
		if i, ok := fileNumber(e.Name()); ok {
			g.series = append(g.series, rescued{upTo: i, size: dirBytes(path)})
		}
	}
	return nil
}

func (g *generation) loadEmptySince() error {
	data, err := os.ReadFile(filepath.Join(g.dir, emptySinceFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// A file that cannot be understood costs a false alarm at worst.
	if n, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && n > 0 && n < g.number {
		g.emptySince = n
	}
	return nil
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

// explained says whether the segments below the oldest kept one are gone in an
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

func (g *generation) bytes() (n int64) {
	for _, s := range g.segments {
		if s.linked {
			n += s.size
		}
	}
	for _, c := range g.checkpoints {
		if c.linked {
			n += c.size
		}
	}
	for _, r := range g.series {
		n += r.size
	}
	return n
}

func (g *generation) segmentPath(i int) string { return filepath.Join(g.dir, segmentName(i)) }

func (g *generation) checkpointPath(i int) string { return filepath.Join(g.dir, checkpointName(i)) }

func (g *generation) seriesPath(upTo int) string {
	return filepath.Join(g.dir, seriesDir, segmentName(upTo))
}

// generationNumbers lists the generations on disk, ascending, after removing
// what an interrupted run left half done.
func generationNumbers(root string) ([]int, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), tmpSuffix) {
			if err := os.RemoveAll(filepath.Join(root, e.Name())); err != nil {
				return nil, fmt.Errorf("cannot remove what an interrupted run left: %w", err)
			}
			continue
		}
		if n, ok := fileNumber(e.Name()); ok && e.IsDir() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers) // by number: names get longer than eight digits one day
	return numbers, nil
}
