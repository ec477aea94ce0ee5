package delivery

import (
	"math"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/storage"
)

// newest are the last samples of series that were received. Upstream's WAL storage refuses
// the newest sample of a series when it comes once more, where a Prometheus server takes it
// and stores nothing. Who sends a request again that was not answered is to be told that it
// has arrived; and a sender that finds out by such requests what is there, as this agent
// does, would be misled.
type newest struct {
	mtx    sync.Mutex
	byRef  map[storage.SeriesRef]arrived
	looked time.Time // when those of series that are gone were dropped
}

// arrived is a sample that was committed, and when.
type arrived struct {
	point

	at int64 // seconds of the Unix time
}

const (
	// goneAfter is when a series of which nothing came is not in the WAL's storage any more:
	// it keeps one for an hour, and looks each hour at the least (agent.retention).
	goneAfter = 2 * time.Hour
	goneLook  = 10 * time.Minute
)

// point is a sample, its value as far as is needed to tell it from others of its time.
type point struct {
	ref    storage.SeriesRef
	t      int64 // milliseconds
	value  uint64
	native bool
}

func pointOf(ref storage.SeriesRef, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram) point {
	switch {
	case h != nil:
		return point{ref, t, math.Float64bits(h.Sum) ^ h.Count, true}
	case fh != nil:
		return point{ref, t, math.Float64bits(fh.Sum) ^ math.Float64bits(fh.Count), true}
	}
	return point{ref, t, math.Float64bits(v), false}
}

// is reports whether a sample is the newest of its series.
func (n *newest) is(p point) bool {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	last, known := n.byRef[p.ref]
	return known && last.point == p
}

// series returns the number of series that are there because something was received, at the
// most.
func (n *newest) series() uint64 {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	return uint64(len(n.byRef))
}

// begin enters a series that has no sample yet.
func (n *newest) begin(ref storage.SeriesRef, now time.Time) {
	n.note([]point{{ref: ref, t: math.MinInt64}}, now)
}

// note enters samples that were committed.
func (n *newest) note(points []point, now time.Time) {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	if n.byRef == nil {
		n.byRef, n.looked = map[storage.SeriesRef]arrived{}, now
	}
	for _, p := range points {
		if last, known := n.byRef[p.ref]; !known || p.t >= last.t {
			n.byRef[p.ref] = arrived{p, now.Unix()}
		}
	}
	if now.Sub(n.looked) < goneLook {
		return
	}
	n.looked = now
	for ref, last := range n.byRef {
		if now.Unix()-last.at > int64(goneAfter/time.Second) {
			delete(n.byRef, ref)
		}
	}
}
