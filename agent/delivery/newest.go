package delivery

import (
	"math"
	"sync"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/storage"
)

// newest are the last samples of series that were received. Upstream's WAL storage refuses
// the newest sample of a series when it comes once more, where a Prometheus server takes it
// and stores nothing. Who sends a request again that was not answered is to be told that it
// has arrived; and a sender that finds out by such requests what is there, as this agent
// does, would be misled.
type newest struct {
	mtx   sync.Mutex
	byRef map[storage.SeriesRef]point
}

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
	return known && last == p
}

// note enters samples that were committed. When so many more series are known than there
// are, most of which must be gone, it begins anew.
func (n *newest) note(points []point, series uint64) {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	if n.byRef == nil || uint64(len(n.byRef)) > 2*series+1000 {
		n.byRef = map[storage.SeriesRef]point{}
	}
	for _, p := range points {
		if last, known := n.byRef[p.ref]; !known || p.t > last.t {
			n.byRef[p.ref] = p
		}
	}
}
