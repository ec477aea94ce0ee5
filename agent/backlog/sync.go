package backlog

import (
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opstrace/opstrace-agent/agent/pulse"
)

// syncer makes the segments of the running generation durable.
type syncer struct {
	inv       *inventory
	metrics   *metrics
	interval  time.Duration // 0: nothing is synced but at the end
	delivered func() Position

	wrote atomic.Bool // something was written since the last sync, or since since

	mu       sync.Mutex // held while it syncs; inventory.mu is taken under it
	syncedTo int        // the first segment that may hold unsynced data
	// since: what was written before is synced, or nobody needs it.
	since time.Time
	// failed: a sync did. What was written before it may not be on the disk, and never be:
	// the kernel takes it for written from then on, and the next sync succeeds (fsync(2)).
	failed error
}

// due reports whether a sync is: what was written an interval ago may be neither synced
// nor delivered. end returns the end of the WAL. New segments are synced once in any
// case: else a mark could name one that is not there after a power cut.
func (y *syncer) due(now time.Time, end func() Position) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.wrote.Swap(false) { // before the end is looked at
		if e := end(); e.Segment > y.syncedTo || y.delivered().Compare(e) < 0 {
			y.wrote.Store(true)
			return now.Sub(y.since) >= y.interval-pulse.Slack
		}
	}
	y.since = now
	return false
}

func (y *syncer) sync() error {
	if y.inv.numberOnly {
		return nil
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	begin := time.Now()
	y.wrote.Store(false)
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
			y.wrote.Store(true)
			y.failed = err
			return err
		}
	}
	y.syncedTo, y.since = last, begin
	y.metrics.syncs.Inc()
	y.metrics.syncDuration.Observe(time.Since(begin).Seconds())
	return nil
}
