package backlog

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opstrace/opstrace-agent/agent/number"
)

// meter measures what is used and reckons what may be.
type meter struct {
	dir     string
	budget  budget
	inv     *inventory
	tail    *tail
	room    *room
	metrics *metrics

	// listed is of wal/. strays: there was what has no link, which may grow without
	// another entry. Both are guarded by Store.op.
	listed listing
	strays bool

	asked atomic.Int64 // when the free space was asked for, in nanoseconds since begun
}

var begun = time.Now() // with a monotonic reading

// freeNow asks for the free space.
func (m *meter) freeNow() (int64, error) {
	m.asked.Store(int64(time.Since(begun)))
	free, err := freeBytes(m.dir)
	if err == nil {
		m.metrics.freeBytes.Set(float64(free))
	}
	return free, err
}

// lookedBefore reports whether the free space was asked for last longer ago than that.
func (m *meter) lookedBefore(d time.Duration) bool {
	return time.Since(begun)-time.Duration(m.asked.Load()) > d
}

// checkpointBytes estimates the next checkpoint: somewhat more than the last one,
// or than the series records written so far.
func (m *meter) checkpointBytes() int64 {
	m.inv.mu.Lock()
	var n int64
	if g := m.inv.running(); len(g.checkpoints) > 0 {
		n = g.checkpoints[len(g.checkpoints)-1].size
	}
	m.inv.mu.Unlock()
	if n == 0 {
		n = m.tail.seriesBytes.Load()
	}
	return max(n+n/4, minCheckpoint)
}

// limits are those of the budget, of this moment.
func (m *meter) limits() (evict, refuse int64) { return m.budget.limits(m.checkpointBytes()) }

// measure takes stock. Callers hold Store.op.
func (m *meter) measure() error {
	wal, stray, err := m.walBytes()
	if err != nil {
		return fmt.Errorf("cannot measure the WAL: %w", err)
	}
	free, err := m.freeNow()
	if err != nil {
		return err
	}
	checkpoint := m.checkpointBytes()
	_, refuse := m.budget.limits(checkpoint)
	u := Usage{
		WALBytes: wal, MaxBytes: m.budget.maxBytes,
		FreeBytes: free, MinFreeBytes: m.budget.floor(checkpoint, m.room.refusing.Load()),
	}
	m.inv.mu.Lock()
	segments, generations := 0, len(m.inv.generations)
	for _, g := range m.inv.generations {
		linked, _ := g.bytes()
		u.BacklogBytes += linked
		segments += len(g.segments)
	}
	u.TotalBytes = u.BacklogBytes + stray
	// Under the lock of the inventory, so that no segment is finished in between.
	m.room.set(u, refuse)
	m.inv.mu.Unlock()
	m.metrics.bytes.Set(float64(u.BacklogBytes))
	m.metrics.walBytes.Set(float64(u.WALBytes))
	m.metrics.totalBytes.Set(float64(u.TotalBytes))
	m.metrics.maxBytes.Set(float64(u.MaxBytes))
	m.metrics.minFreeBytes.Set(float64(u.MinFreeBytes))
	m.metrics.generations.Set(float64(generations))
	m.metrics.segments.Set(float64(segments))
	return nil
}

// walBytes returns the size of wal/, and how much of it has no link in the backlog:
// what was begun since the last sweep, and what upstream is writing.
func (m *meter) walBytes() (all, stray int64, err error) {
	if !m.strays && !m.inv.numberOnly && m.listed.holds(m.inv.walDir) {
		m.inv.mu.Lock()
		defer m.inv.mu.Unlock()
		_, all = m.inv.running().bytes()
		return all, 0, nil
	}
	m.listed.begin(m.inv.walDir)
	m.strays = true
	entries, err := os.ReadDir(m.inv.walDir)
	if err != nil && !m.inv.numberOnly {
		return 0, 0, err
	}
	m.strays = false
	m.inv.mu.Lock()
	defer m.inv.mu.Unlock()
	g := m.inv.ofWAL()
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
		size := dirBytes(filepath.Join(m.inv.walDir, e.Name())) // of a file: its own
		all += size
		stray += size
		m.strays = true
	}
	return all, stray, nil
}

// full returns an error when there is so little space that appends would be refused
// whatever was evicted. A run that begins so had better deliver first.
func (m *meter) full() error {
	u := m.room.last()
	if u.FreeBytes >= u.MinFreeBytes/2 {
		return nil
	}
	return fmt.Errorf("the disk is full: %s are free, and %s are to be left: %w", number.Bytes(u.FreeBytes), number.Bytes(u.MinFreeBytes), syscall.ENOSPC)
}

// pressed reports whether the next look at the budget must not wait: there was no
// space, or the file system is filled up by somebody.
func (m *meter) pressed() bool {
	if m.room.refusing.Load() {
		return true
	}
	free, err := m.freeNow()
	if err != nil {
		return true
	}
	return free < m.room.nowFree(free).MinFreeBytes
}
