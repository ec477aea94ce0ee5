package backlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/tsdb/fileutil"
)

// publish puts a checkpoint into wal/ which allows its segments up to k to be
// removed. A watcher that starts later reads the series from the checkpoint and
// would drop the samples of all others; upstream's next truncation replaces it.
func (r *rescuer) publish(link linkFunc, k int) error {
	r.inv.mu.Lock()
	g := r.inv.running()
	r.inv.mu.Unlock()
	sources, err := r.publishSources(g, k)
	if err != nil {
		return err
	}
	tmp := g.checkpointPath(k) + tmpSuffix
	if _, err := r.writeContext(tmp, sources); err != nil {
		return fmt.Errorf("cannot write a checkpoint: %w", err)
	}
	inWAL := r.inv.walCheckpoint(k)
	if r.inv.hardLinks {
		if err := fileutil.Replace(tmp, g.checkpointPath(k)); err != nil {
			return fmt.Errorf("cannot write a checkpoint: %w", err)
		}
		// Not under upstream's name for an unfinished one: it removes those.
		tmp = filepath.Join(g.dir, "published"+tmpSuffix)
		if err := link.linkFiles(g.checkpointPath(k), tmp); err != nil {
			return fmt.Errorf("cannot link a checkpoint: %w", err)
		}
	}
	if err := fileutil.Rename(tmp, inWAL); err != nil {
		if err := errors.Join(err, os.RemoveAll(tmp)); !exists(inWAL) {
			return fmt.Errorf("cannot publish a checkpoint: %w", err)
		} // upstream was faster
	}
	r.inv.mu.Lock()
	defer r.inv.mu.Unlock()
	c := g.addCheckpoint(checkpoint{index: k})
	c.size, c.linked, c.inWAL, c.state = dirBytes(inWAL), r.inv.hardLinks, true, sound
	return nil
}

// publishSources lists the files with all series that segments of wal/ behind k may
// need.
func (r *rescuer) publishSources(g *generation, k int) (files []string, err error) {
	inv := r.inv
	inv.mu.Lock()
	last := -1 // the newest checkpoint in wal/
	for _, c := range g.checkpoints {
		if c.inWAL && c.index <= k {
			last = c.index
		}
	}
	inv.mu.Unlock()
	if last >= 0 && !r.checkpoints.isSound(g, last) {
		last = -1
	}
	var dirs []string
	var segments []string
	inv.mu.Lock()
	for n := range g.checkpoints {
		if c := &g.checkpoints[n]; last < 0 || c.index == last {
			dirs = append(dirs, inv.checkpointPath(g, c))
		}
	}
	for _, s := range g.series {
		if s.upTo > last {
			dirs = append(dirs, g.seriesPath(s.upTo))
		}
	}
	for n := range g.segments {
		if seg := &g.segments[n]; seg.index > last && seg.index <= k && !seg.contextFree {
			segments = append(segments, inv.segmentPath(g, seg))
		}
	}
	inv.mu.Unlock()
	for _, dir := range dirs {
		more, err := logFiles(dir)
		if err := r.worthAnother(dir, err); err != nil {
			return nil, fmt.Errorf("cannot list series records: %w", err)
		}
		files = append(files, more...)
	}
	return append(files, segments...), nil
}
