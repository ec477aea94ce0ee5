package backlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/prometheus/tsdb/fileutil"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

const (
	// mergeBelow is the size up to which rescued series are written once more,
	// together with those of the next segment: upstream's log pads every file to
	// 32 KiB, and there may be hundreds of segments with one new series each.
	mergeBelow = 128 << 10
	// rescueBatch is how much is written at once.
	rescueBatch = 256 << 10
	// rescuePause is how long a failed attempt to write keeps from the next: a
	// wlog.WL that cannot write cannot be closed either, and leaks a file.
	rescuePause = 10 * time.Second
)

var errRescuePaused = errors.New("series records could not be written a moment ago")

// base returns the newest checkpoint strictly below segment f which can be read to
// its end, or -1. All that its generation needs for the segments from f on, and
// that lies in segments up to it, is in there. Callers hold op.
func (s *Store) base(g *generation, f int) int {
	s.mu.Lock()
	candidates := slices.Clone(g.checkpoints)
	s.mu.Unlock()
	for _, c := range slices.Backward(candidates) {
		if c.index < f && (c.linked || !s.hardLinks) && s.isSound(g, c.index) {
			return c.index
		}
	}
	return -1
}

// isSound reads a checkpoint to its end, once. Callers hold op.
func (s *Store) isSound(g *generation, i int) bool {
	s.mu.Lock()
	c := g.checkpoint(i)
	if c == nil {
		s.mu.Unlock()
		return false
	}
	state, path := c.state, s.checkpointPathOf(g, c)
	s.mu.Unlock()
	if state != unverified {
		return state == sound
	}
	state = sound
	files, err := logFiles(path)
	if err == nil && len(files) == 0 {
		state = damaged // half of it was removed
	}
	for _, file := range files {
		if err == nil {
			err = scanFile(file, func([]byte, int64) error { return nil })
		}
	}
	var derr *damageError
	if errors.As(err, &derr) {
		state = damaged
		s.noteDamage(derr.path, derr.lost())
	} else if err != nil {
		return false // not to be remembered: the disk may answer next time
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := g.checkpoint(i); c != nil {
		c.state = state
	}
	return state == sound
}

// rescue copies what the segments from f on need from segments that are about to
// be unlinked, all below f, into series/, unless a checkpoint has it. When it
// returns without an error, the copy is durable. Callers hold op.
func (s *Store) rescue(g *generation, going []int, f int) error {
	base := s.base(g, f)
	s.mu.Lock()
	var top rescued
	if n := len(g.series); n > 0 {
		top = g.series[n-1]
	} else {
		top.upTo = -1
	}
	var sources []string
	upTo := -1
	for _, i := range going {
		if i <= max(base, top.upTo) {
			continue
		}
		upTo = i
		if seg := g.segment(i); seg != nil && !s.index.seriesFree(g.number, i) {
			sources = append(sources, s.pathOf(g, seg))
		}
	}
	s.mu.Unlock()
	if upTo < 0 {
		return nil
	}
	dir := g.seriesPath(upTo)
	merge := top.upTo >= 0 && top.size <= min(mergeBelow, s.opts.SegmentSize) // the budget reckons with a segment
	if len(sources) == 0 && top.upTo >= 0 {
		if err := fileutil.Rename(g.seriesPath(top.upTo), dir); err != nil {
			return fmt.Errorf("cannot rename rescued series: %w", err)
		}
		s.replaceSeries(g, top.upTo, rescued{upTo: upTo, size: top.size})
		return nil
	}
	if merge {
		files, err := logFiles(g.seriesPath(top.upTo))
		if err != nil {
			return fmt.Errorf("cannot list rescued series: %w", err)
		}
		sources = append(files, sources...)
	}
	if err := s.writeContext(dir+tmpSuffix, sources); err != nil {
		return fmt.Errorf("cannot rescue series records: %w", err)
	}
	if err := errors.Join(fileutil.Rename(dir+tmpSuffix, dir), syncPath(g.dir)); err != nil {
		return fmt.Errorf("cannot rescue series records: %w", err)
	}
	size := dirBytes(dir)
	s.metrics.rescues.Inc()
	s.metrics.rescuedBytes.Add(float64(size))
	if !merge {
		s.replaceSeries(g, -1, rescued{upTo: upTo, size: size})
		return nil
	}
	s.replaceSeries(g, top.upTo, rescued{upTo: upTo, size: size})
	return removeDir(g.seriesPath(top.upTo))
}

// replaceSeries enters rescued series into the inventory, in the place of others.
func (s *Store) replaceSeries(g *generation, old int, r rescued) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.version++
	g.series = slices.DeleteFunc(g.series, func(r rescued) bool { return r.upTo == old })
	g.series = append(g.series, r)
}

// writeContext writes the series and metadata records of the sources to a new
// directory in upstream's log format, and syncs it. What is damaged in the sources,
// or gone, is left out.
func (s *Store) writeContext(dir string, sources []string) (err error) {
	if time.Since(s.rescueFailed) < rescuePause {
		return errRescuePaused
	}
	defer func() {
		if err != nil {
			s.rescueFailed = time.Now()
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	w, err := wlog.NewSize(nil, nil, dir, wlog.DefaultSegmentSize, compression.Snappy)
	if err != nil {
		return err
	}
	err = copyContext(w, sources)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return syncFlatDir(dir) // Close only logs when its sync fails
}

func copyContext(w *wlog.WL, sources []string) error {
	var (
		batch [][]byte
		size  int
	)
	flush := func() error {
		err := w.Log(batch...)
		batch, size = batch[:0], 0
		return err
	}
	for _, path := range sources {
		err := scanFile(path, func(rec []byte, _ int64) error {
			if !isContext(recordType(rec)) {
				return nil
			}
			batch, size = append(batch, slices.Clone(rec)), size+len(rec)
			if size < rescueBatch {
				return nil
			}
			return flush()
		})
		var derr *damageError
		if err != nil && !errors.As(err, &derr) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return flush()
}

// pruneRunning prunes the running generation, which gets new checkpoints without
// anything being unlinked.
func (s *Store) pruneRunning() error { return s.prune(s.running()) }

// prune removes the checkpoints and rescued series that a newer checkpoint has
// made superfluous. A checkpoint not below the oldest kept segment helps nobody
// yet; the newest of those stays for later. Callers hold op.
func (s *Store) prune(g *generation) error {
	s.mu.Lock()
	f, ok := g.first()
	idle := len(g.checkpoints) == 0 || len(g.checkpoints) == 1 && len(g.series) == 0
	s.mu.Unlock()
	if !ok || idle {
		return nil
	}
	base := s.base(g, f)
	var dirs []string
	s.mu.Lock()
	newest := g.checkpoints[len(g.checkpoints)-1].index
	for n := range g.checkpoints {
		c := &g.checkpoints[n]
		superfluous := c.index < base || c.index >= f && c.index < newest
		if superfluous && c.linked {
			dirs = append(dirs, g.checkpointPath(c.index))
			c.linked = false
		}
	}
	g.checkpoints = slices.DeleteFunc(g.checkpoints, func(c checkpoint) bool { return !c.linked && !c.inWAL })
	for _, r := range g.series {
		if r.upTo <= base {
			dirs = append(dirs, g.seriesPath(r.upTo))
		}
	}
	g.series = slices.DeleteFunc(g.series, func(r rescued) bool { return r.upTo <= base })
	if len(dirs) > 0 {
		g.version++ // before the files go, so that a reader who misses one knows why
	}
	s.mu.Unlock()
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, removeDir(dir))
	}
	return errors.Join(errs...)
}

// removeDir removes a directory under another name: half a checkpoint, or half a
// generation, must not pass for a whole one after a crash.
func removeDir(dir string) error {
	if err := os.Rename(dir, dir+tmpSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir + tmpSuffix)
}

// publish puts a checkpoint into wal/ which allows its segments up to k to be
// removed. A watcher that starts later reads the series from the checkpoint and
// would drop the samples of all others; upstream's next truncation replaces it.
// Callers hold op.
func (s *Store) publish(k int) error {
	g := s.running()
	sources, err := s.publishSources(g, k)
	if err != nil {
		return err
	}
	tmp := g.checkpointPath(k) + tmpSuffix
	if err := s.writeContext(tmp, sources); err != nil {
		return fmt.Errorf("cannot write a checkpoint: %w", err)
	}
	inWAL := filepath.Join(s.walDir, checkpointName(k))
	if s.hardLinks {
		if err := fileutil.Replace(tmp, g.checkpointPath(k)); err != nil {
			return fmt.Errorf("cannot write a checkpoint: %w", err)
		}
		// Not under upstream's name for an unfinished one: it removes those.
		tmp = filepath.Join(g.dir, "published"+tmpSuffix)
		if err := s.linkFiles(g.checkpointPath(k), tmp); err != nil {
			return fmt.Errorf("cannot link a checkpoint: %w", err)
		}
	}
	if err := fileutil.Rename(tmp, inWAL); err != nil {
		if err := errors.Join(err, os.RemoveAll(tmp)); !exists(inWAL) {
			return fmt.Errorf("cannot publish a checkpoint: %w", err)
		} // upstream was faster
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := g.addCheckpoint(checkpoint{index: k})
	c.size, c.linked, c.inWAL, c.state = dirBytes(inWAL), s.hardLinks, true, sound
	return nil
}

// publishSources lists the files with all series that segments of wal/ behind k may
// need.
func (s *Store) publishSources(g *generation, k int) (files []string, err error) {
	s.mu.Lock()
	last := -1 // the newest checkpoint in wal/
	for _, c := range g.checkpoints {
		if c.inWAL && c.index <= k {
			last = c.index
		}
	}
	s.mu.Unlock()
	if last >= 0 && !s.isSound(g, last) {
		last = -1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var dirs []string
	for n := range g.checkpoints {
		if c := &g.checkpoints[n]; last < 0 || c.index == last {
			dirs = append(dirs, s.checkpointPathOf(g, c))
		}
	}
	for _, r := range g.series {
		if r.upTo > last {
			dirs = append(dirs, g.seriesPath(r.upTo))
		}
	}
	for _, dir := range dirs {
		more, err := logFiles(dir)
		if err != nil {
			return nil, fmt.Errorf("cannot list series records: %w", err)
		}
		files = append(files, more...)
	}
	for n := range g.segments {
		if seg := &g.segments[n]; seg.index > last && seg.index <= k {
			files = append(files, s.pathOf(g, seg))
		}
	}
	return files, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
