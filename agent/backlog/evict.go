package backlog

import (
	"fmt"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	// evictAtOnce bounds one step of eviction, after which the disk is asked again.
	evictAtOnce = 64 << 20
	// creditFor is how long space that was freed, but is not reported free yet,
	// is believed in: a reader may hold the file open, some file systems take
	// their time. Without it, everything would be evicted meanwhile.
	creditFor = 2 * time.Second
)

// evictor keeps cap and floor. Its methods are called with Store.op held.
type evictor struct {
	inv     *inventory
	linker  *linker
	rescuer *rescuer
	remover *remover
	meter   *meter
	metrics *metrics
	logger  log.Logger
	limit   *logLimiter

	onEvict     func(to Position)
	liveSegment func() int

	frees   []freed // of the last seconds
	refused bool    // what was logged last
}

// enforce evicts the oldest data until cap and floor hold, or nothing is left to
// evict.
func (e *evictor) enforce() error {
	for {
		e.linker.findSegments()
		if err := e.meter.measure(); err != nil {
			return err
		}
		excess := e.excess()
		if excess <= 0 {
			e.decide(false)
			return nil
		}
		b, ok := e.evictable(excess)
		if !ok {
			e.decide(true)
			return nil
		}
		if err := e.evict(b); err != nil {
			e.decide(true)
			return fmt.Errorf("cannot evict: %w", err)
		}
	}
}

// excess returns by how much the cap or the floor is broken.
func (e *evictor) excess() int64 {
	u := e.meter.room.last()
	limit, _ := e.meter.limits()
	return max(u.TotalBytes-limit, u.MinFreeBytes-(u.FreeBytes+e.credit()))
}

// decide sets whether appends are refused. stuck says that the budget is exceeded
// and that nothing could be evicted.
func (e *evictor) decide(stuck bool) {
	u := e.meter.room.last()
	low, high := e.meter.limits()
	refusing := &e.meter.room.refusing
	refuse := stuck && (u.TotalBytes > high || u.FreeBytes < u.MinFreeBytes)
	if refusing.Load() { // MinFreeBytes is the raised one
		refuse = u.TotalBytes > low || u.FreeBytes < u.MinFreeBytes
	}
	// Something else fills the disk faster than data are evicted.
	refuse = refuse || u.FreeBytes < u.MinFreeBytes/2
	refusing.Store(refuse)
	if refuse == e.refused {
		return // a finished segment may have set it in between: see room.take
	}
	e.refused = refuse
	if refuse {
		e.metrics.refusing.Set(1)
		level.Error(e.logger).Log("msg", "Appends are refused: there is no space, and nothing is left to evict", "total_bytes", u.TotalBytes, "max_bytes", u.MaxBytes, "free_bytes", u.FreeBytes, "min_free_bytes", u.MinFreeBytes)
		return
	}
	e.metrics.refusing.Set(0)
	level.Info(e.logger).Log("msg", "Appends are accepted again", "total_bytes", u.TotalBytes, "free_bytes", u.FreeBytes)
}

// batch is what goes in one step of eviction.
type batch struct {
	g        *generation
	segments []int
	bytes    int64
	whole    bool     // all of a finished generation
	inWAL    bool     // they are to be removed from wal/ as well
	to       Position // where the data begin then
}

func (b *batch) last() int { return b.segments[len(b.segments)-1] }

// evictable chooses the oldest segments, enough to free a number of bytes, or as
// many as go in one step.
func (e *evictor) evictable(bytes int64) (batch, bool) {
	live := e.liveSegment()
	checkpoint := e.meter.checkpointBytes()
	e.inv.mu.Lock()
	defer e.inv.mu.Unlock()
	g := e.inv.generations[0]
	b := batch{g: g}
	left := g.segments
	if g.number == e.inv.current {
		left = left[:max(0, len(left)-1)] // never the one being written
		b.inWAL = len(left) > 0 && left[0].inWAL
	}
	if b.inWAL {
		// Each step costs a checkpoint; a few at once keep that cheap.
		bytes = max(bytes, min(4*checkpoint, e.meter.budget.maxBytes/8))
	}
	for _, seg := range left {
		if b.bytes >= min(bytes, evictAtOnce) || seg.inWAL != b.inWAL || seg.inWAL && seg.index >= live {
			break
		}
		b.segments = append(b.segments, seg.index)
		b.bytes += seg.size
	}
	n := len(b.segments)
	switch {
	case n == len(g.segments) && g.number != e.inv.current:
		return e.inv.wholeOf(g), true
	case n == 0:
		return batch{}, false
	}
	b.to = Position{Generation: g.number, Segment: g.segments[n].index}
	return b, true
}

// wholeOf returns all of the oldest generation, a finished one. Callers hold mu.
func (inv *inventory) wholeOf(g *generation) batch {
	b := batch{g: g, whole: true, to: Position{Generation: inv.generations[1].number}}
	b.to.Segment, _ = inv.generations[1].first()
	for _, seg := range g.segments {
		b.segments = append(b.segments, seg.index)
		b.bytes += seg.size
	}
	return b
}

// evict unlinks a batch, after what others need of it has been put elsewhere and
// the owners of marks have been told.
func (e *evictor) evict(b batch) error {
	b, err := e.preserve(b)
	if err != nil {
		return err
	}
	e.inv.mu.Lock()
	needed := b.to.Compare(e.inv.released) > 0
	e.inv.mu.Unlock()
	if needed {
		e.onEvict(b.to)
	}
	if b.inWAL && b.last() >= e.liveSegment() {
		return nil // a watcher has started meanwhile, and must find what it has listed
	}
	if needed {
		if e.limit.allow("evict") {
			level.Warn(e.logger).Log("msg", "No space left for the oldest data", "kept_from", b.to, "segments", len(b.segments), "bytes", b.bytes)
		}
		e.metrics.evicted.Add(float64(len(b.segments)))
		e.metrics.evictedBytes.Add(float64(b.bytes))
	}
	e.inv.mu.Lock()
	e.inv.evicted = maxPosition(e.inv.evicted, b.to)
	e.inv.mu.Unlock()
	before, err := freeBytes(e.meter.dir)
	if err != nil {
		return err
	}
	if err := e.unlink(b); err != nil {
		return err
	}
	after, err := freeBytes(e.meter.dir)
	e.frees = append(e.frees, freed{at: time.Now(), bytes: max(0, b.bytes-max(0, after-before))})
	return err
}

// preserve puts the series of a batch where those will find them that read what is
// behind it. Where that cannot be done, what is behind is of no use either, and all
// of a finished generation goes.
func (e *evictor) preserve(b batch) (batch, error) {
	switch {
	case b.whole:
		return b, nil
	case b.inWAL:
		return b, e.rescuer.publish(e.linker.link, b.last())
	}
	err := e.rescuer.rescue(b.g, b.segments)
	if b.g.number == e.inv.current || !isDenied(err) {
		return b, err
	}
	e.limit.log(level.Error(e.logger), "Cannot keep the series of evicted data, so the rest of their run goes as well", err)
	e.inv.mu.Lock()
	defer e.inv.mu.Unlock()
	return e.inv.wholeOf(b.g), nil
}

func (e *evictor) unlink(b batch) error {
	if b.whole {
		return e.remover.generation(b.g)
	}
	if err := e.remover.segments(b.g, b.segments); err != nil {
		return err
	}
	if b.inWAL {
		// Upstream would do so with its next truncation, which may be many of ours
		// away.
		if err := wlog.DeleteCheckpoints(e.inv.walDir, b.last()); err != nil {
			return err
		}
	}
	return e.remover.checkpoints.prune(b.g)
}

// lostToTruncation tells of segments that upstream deleted before anybody could
// keep them.
func (e *evictor) lostToTruncation(lost []int) {
	e.inv.mu.Lock()
	to := Position{Generation: e.inv.current}
	to.Segment, _ = e.inv.running().first()
	unread := to.Compare(e.inv.released) > 0
	e.inv.evicted = maxPosition(e.inv.evicted, to)
	e.inv.mu.Unlock()
	if unread {
		e.metrics.evicted.Add(float64(len(lost)))
		e.onEvict(to)
	}
	e.remover.tallies.forget(lost...)
}

// freed is space that was given up and did not appear as free.
type freed struct {
	at    time.Time
	bytes int64
}

// credit returns the space that is expected to become free soon.
func (e *evictor) credit() (sum int64) {
	recent := e.frees[:0]
	for _, f := range e.frees {
		if time.Since(f.at) < creditFor {
			recent = append(recent, f)
			sum += f.bytes
		}
	}
	e.frees = recent
	return sum
}
