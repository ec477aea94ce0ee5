package backlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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

// rescuer sees to it that what is read after something was unlinked can be
// understood. Its users hold Store.op.
type rescuer struct {
	inv         *inventory
	checkpoints *checkpoints
	damage      *damageLog
	metrics     *metrics
	mergeBelow  int64

	failedAt time.Time      // when series records could not be written
	failures map[string]int // of files, how often in a row they could not be read
}

// plan is what a rescue is to do.
type plan struct {
	upTo    int      // the last segment whose series are to be found in series/; -1 if all is there
	top     rescued  // what series/ has newest; upTo is -1 if there is nothing
	merge   bool     // with top
	sources []string // segments that may hold series
}

// rescue copies what the segments that stay need from segments that are about to be
// unlinked, the oldest of their generation, into series/, unless a checkpoint has
// it. When it returns without an error, the copy is durable.
func (r *rescuer) rescue(g *generation, going []int) error {
	p, err := r.plan(g, going)
	if err != nil || p.upTo < 0 {
		return err
	}
	if g.seriesErr != nil {
		return fmt.Errorf("cannot rescue series records: %w", g.seriesErr)
	}
	if len(p.sources) == 0 && p.top.upTo >= 0 {
		return r.moveTop(g, p)
	}
	dir := g.seriesPath(p.upTo)
	copied, err := r.writeContext(dir+tmpSuffix, p.sources)
	if err != nil {
		return fmt.Errorf("cannot rescue series records: %w", err)
	}
	if copied == 0 && p.top.upTo >= 0 {
		if err := os.RemoveAll(dir + tmpSuffix); err != nil {
			return fmt.Errorf("cannot rescue series records: %w", err)
		}
		return r.moveTop(g, p)
	}
	if err := errors.Join(fileutil.Rename(dir+tmpSuffix, dir), syncPath(g.dir)); err != nil {
		return fmt.Errorf("cannot rescue series records: %w", err)
	}
	size := dirBytes(dir)
	r.metrics.rescues.Inc()
	r.metrics.rescuedBytes.Add(float64(size))
	if !p.merge {
		r.replaceSeries(g, -1, rescued{upTo: p.upTo, size: size})
		return nil
	}
	r.replaceSeries(g, p.top.upTo, rescued{upTo: p.upTo, size: size})
	return removeDir(g.seriesPath(p.top.upTo))
}

func (r *rescuer) plan(g *generation, going []int) (plan, error) {
	base := r.checkpoints.base(g, going[len(going)-1]+1)
	p := plan{upTo: -1, top: rescued{upTo: -1}}
	r.inv.mu.Lock()
	if n := len(g.series); n > 0 {
		p.top = g.series[n-1]
	}
	for _, i := range going {
		if i <= max(base, p.top.upTo) {
			continue
		}
		p.upTo = i
		if seg := g.segment(i); seg != nil && !seg.contextFree {
			p.sources = append(p.sources, r.inv.segmentPath(g, seg))
		}
	}
	r.inv.mu.Unlock()
	p.merge = p.top.upTo >= 0 && p.top.size <= r.mergeBelow
	if p.merge && p.upTo >= 0 && len(p.sources) > 0 {
		files, err := logFiles(g.seriesPath(p.top.upTo))
		if err != nil {
			return p, fmt.Errorf("cannot list rescued series: %w", err)
		}
		p.sources = append(files, p.sources...)
	}
	return p, nil
}

// moveTop has what series/ has newest stand for more segments, which define nothing.
func (r *rescuer) moveTop(g *generation, p plan) error {
	if err := fileutil.Rename(g.seriesPath(p.top.upTo), g.seriesPath(p.upTo)); err != nil {
		return fmt.Errorf("cannot rename rescued series: %w", err)
	}
	r.replaceSeries(g, p.top.upTo, rescued{upTo: p.upTo, size: p.top.size})
	return nil
}

// replaceSeries enters rescued series into the inventory, in the place of others.
func (r *rescuer) replaceSeries(g *generation, old int, next rescued) {
	r.inv.mu.Lock()
	defer r.inv.mu.Unlock()
	g.version++
	g.series = slices.DeleteFunc(g.series, func(r rescued) bool { return r.upTo == old })
	g.series = append(g.series, next)
}

// writeContext writes the series and metadata records of the sources to a new
// directory in upstream's log format, syncs it, and returns how many there were.
// What is damaged in the sources, or gone, is left out.
func (r *rescuer) writeContext(dir string, sources []string) (copied int, err error) {
	if time.Since(r.failedAt) < rescuePause {
		return 0, errRescuePaused
	}
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			r.failedAt = time.Now()
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	w, err := wlog.NewSize(nil, nil, dir, wlog.DefaultSegmentSize, compression.Snappy)
	if err != nil {
		return 0, err
	}
	copied, err = r.copyContext(w, sources)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return 0, err
	}
	return copied, syncFlatDir(dir) // Close only logs when its sync fails
}

func (r *rescuer) copyContext(w *wlog.WL, sources []string) (copied int, err error) {
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
		var writeErr error
		err := scanFile(path, func(rec []byte, _ int64) error {
			if !isContext(recordType(rec)) {
				return nil
			}
			copied++
			batch, size = append(batch, slices.Clone(rec)), size+len(rec)
			if size >= rescueBatch {
				writeErr = flush()
			}
			return writeErr
		})
		if writeErr != nil {
			return 0, writeErr
		}
		var derr *damageError
		if errors.As(err, &derr) || errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err := r.worthAnother(path, err); err != nil {
			return 0, err
		}
	}
	return copied, flush()
}

// worthAnother returns the error of an attempt to read a file or directory if
// another attempt is worth it. What stays unreadable must not keep everything else
// on disk for ever.
func (r *rescuer) worthAnother(path string, err error) error {
	if err == nil {
		delete(r.failures, path)
		return nil
	}
	if r.failures[path]++; isScarcity(err) || r.failures[path] < readAttempts {
		return err
	}
	r.damage.note(path, -1)
	return nil
}
