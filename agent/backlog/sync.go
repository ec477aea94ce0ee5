package backlog

import (
	"errors"
	"io/fs"
	"sync"
	"time"
)

// syncer makes the segments of the running generation durable.
type syncer struct {
	inv     *inventory
	metrics *metrics

	mu       sync.Mutex // held while it syncs; inventory.mu is taken under it
	syncedTo int        // the first segment that may hold unsynced data
}

func (y *syncer) sync() error {
	if y.inv.numberOnly {
		return nil
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	begin := time.Now()
	y.inv.mu.Lock()
	g := y.inv.running()
	var paths []string
	last := y.syncedTo
	for n := range g.segments {
		if seg := &g.segments[n]; seg.index >= y.syncedTo {
			paths = append(paths, y.inv.segmentPath(g, seg))
			last = seg.index
		}
	}
	y.inv.mu.Unlock()
	if last > y.syncedTo || y.syncedTo == 0 {
		paths = append(paths, y.inv.walDir, g.dir) // the names of new segments
	}
	for _, path := range paths {
		if err := syncPath(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			y.metrics.syncFailures.Inc()
			return err
		}
	}
	y.syncedTo = last
	y.metrics.syncs.Inc()
	y.metrics.syncDuration.Observe(time.Since(begin).Seconds())
	return nil
}
