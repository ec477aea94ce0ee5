package backlog

import (
	"sync"
	"sync/atomic"
)

// Usage says how much space is taken.
type Usage struct {
	WALBytes     int64 `json:"walBytes"`
	BacklogBytes int64 `json:"backlogBytes"` // including what wal/ holds under another name
	TotalBytes   int64 `json:"totalBytes"`   // of both; a file with two names counts once
	MaxBytes     int64 `json:"maxBytes"`
	FreeBytes    int64 `json:"freeBytes"` // of the file system
	MinFreeBytes int64 `json:"minFreeBytes"`
}

// room is what the last sweep found, and what has been used up of it since.
type room struct {
	refusing atomic.Bool

	mu          sync.Mutex // a leaf
	usage       Usage
	grown       int64 // bytes of segments finished since usage was taken
	refuseAbove int64 // what they may add up to before the next sweep
}

func (r *room) last() Usage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.usage
}

// nowFree enters what is free now, and returns what is known with it.
func (r *room) nowFree(free int64) Usage {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.usage.FreeBytes = free
	return r.usage
}

func (r *room) set(u Usage, refuseAbove int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.usage, r.grown, r.refuseAbove = u, 0, refuseAbove
}

// take refuses appends at once when a finished segment eats up the room that the
// last sweep left: the sweeps cannot keep up, and the next one may come too late
// for the cap. It decides anew.
func (r *room) take(segmentBytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grown += segmentBytes
	if r.usage.TotalBytes+r.grown > r.refuseAbove {
		r.refusing.Store(true)
	}
}
