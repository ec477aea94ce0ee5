package backlog

import (
	"cmp"
	"fmt"
	"time"

	"github.com/go-kit/log/level"

	"github.com/prometheus/prometheus/tsdb/wlog"
	prom_runtime "github.com/prometheus/prometheus/util/runtime"
)

const (
	defaultMaxBytes     = 1 << 30
	defaultMinFreeLeast = 16 << 20
	defaultMinFreeMost  = 256 << 20

	// minCheckpoint is the least that a checkpoint takes: a page of upstream's log.
	minCheckpoint = 32 << 10
	// evictAtOnce bounds one step of eviction, after which the disk is asked again.
	evictAtOnce = 64 << 20
	// creditFor is how long space that was freed, but is not reported free yet,
	// is believed in: a reader may hold the file open, some file systems take
	// their time. Without it, everything would be evicted meanwhile.
	creditFor = 2 * time.Second
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

// Usage returns what the last sweep found.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usage
}

// Refusing says that appends must be refused, because the budget is used up and
// nothing is left to evict. It becomes false again when there is space.
func (s *Store) Refusing() bool { return s.refusing.Load() }

// setBudget applies the defaults.
func (s *Store) setBudget() error {
	size := int64(min(prom_runtime.FsSize(s.opts.Dir), 1<<62))
	if s.opts.MaxBytes == 0 {
		s.opts.MaxBytes = defaultMaxBytes
		if size > 0 {
			s.opts.MaxBytes = min(s.opts.MaxBytes, size/10)
		}
	}
	if s.opts.MinFreeBytes == 0 {
		s.opts.MinFreeBytes = min(max(size/20, defaultMinFreeLeast), defaultMinFreeMost)
		if size > 0 {
			s.opts.MinFreeBytes = min(s.opts.MinFreeBytes, size/4)
		}
	}
	s.opts.SegmentSize = cmp.Or(s.opts.SegmentSize, wlog.DefaultSegmentSize)
	if s.opts.MaxBytes < 0 || s.opts.MinFreeBytes < 0 || s.opts.SegmentSize < 0 {
		return fmt.Errorf("sizes must not be negative: at most %d bytes, at least %d free, segments of %d", s.opts.MaxBytes, s.opts.MinFreeBytes, s.opts.SegmentSize)
	}
	if s.opts.MaxBytes < 4*s.opts.SegmentSize {
		level.Warn(s.logger).Log("msg", "The backlog is small against the segments of the WAL; much of it will stay unused", "max_bytes", s.opts.MaxBytes, "segment_bytes", s.opts.SegmentSize)
	}
	return nil
}

// checkpointBytes estimates the next checkpoint: somewhat more than the last one,
// or than the series records written so far.
func (s *Store) checkpointBytes() int64 {
	s.mu.Lock()
	var n int64
	if g := s.running(); len(g.checkpoints) > 0 {
		n = g.checkpoints[len(g.checkpoints)-1].size
	}
	s.mu.Unlock()
	if n == 0 {
		s.index.mu.Lock()
		n = s.index.seriesBytes
		s.index.mu.Unlock()
	}
	return max(n+n/4, minCheckpoint)
}

// limits returns the sizes that the cap is made of. Above evict, data are evicted;
// above refuse, it is not safe to go on writing. Between evict and refuse lies one
// segment: a new one brings about a sweep. Between refuse and the cap lie another
// one, written before anybody looks, the series rescued from segments, which may
// take as much for a moment, a checkpoint of upstream's, and one of ours.
func (s *Store) limits() (evict, refuse int64) {
	quarter := s.opts.MaxBytes / 4
	refuse = s.opts.MaxBytes - min(2*(s.opts.SegmentSize+s.checkpointBytes()), quarter)
	return refuse - min(s.opts.SegmentSize, quarter), refuse
}

// floor is the free space below which data are evicted. A checkpoint must always
// fit, or nothing could be truncated any more. While appends are refused it is
// higher, so that they do not start and stop with every file.
func (s *Store) floor() int64 {
	n := max(s.opts.MinFreeBytes, 2*s.checkpointBytes())
	if s.refusing.Load() {
		n += n / 8
	}
	return n
}

// measure takes stock. Callers hold op.
func (s *Store) measure() error {
	wal, stray, err := s.walBytes()
	if err != nil {
		return fmt.Errorf("cannot measure the WAL: %w", err)
	}
	free, err := freeBytes(s.opts.Dir)
	if err != nil {
		return err
	}
	floor := s.floor()
	_, refuse := s.limits()
	s.mu.Lock()
	defer s.mu.Unlock()
	u := Usage{WALBytes: wal, MaxBytes: s.opts.MaxBytes, FreeBytes: free, MinFreeBytes: floor}
	segments := 0
	for _, g := range s.generations {
		u.BacklogBytes += g.bytes()
		segments += len(g.segments)
	}
	u.TotalBytes = u.BacklogBytes + stray
	s.usage, s.grown, s.refuseAbove = u, 0, refuse
	m := s.metrics
	m.bytes.Set(float64(u.BacklogBytes))
	m.walBytes.Set(float64(u.WALBytes))
	m.totalBytes.Set(float64(u.TotalBytes))
	m.maxBytes.Set(float64(u.MaxBytes))
	m.freeBytes.Set(float64(u.FreeBytes))
	m.minFreeBytes.Set(float64(u.MinFreeBytes))
	m.generations.Set(float64(len(s.generations)))
	m.segments.Set(float64(segments))
	return nil
}

// enforce evicts the oldest data until cap and floor hold, or nothing is left to
// evict. Callers hold op.
func (s *Store) enforce() error {
	for {
		s.findSegments()
		if err := s.measure(); err != nil {
			return err
		}
		excess := s.excess()
		if excess <= 0 {
			s.decide(false)
			return nil
		}
		b, ok := s.evictable(excess)
		if !ok {
			s.decide(true)
			return nil
		}
		if err := s.evict(b); err != nil {
			s.decide(true)
			return fmt.Errorf("cannot evict: %w", err)
		}
	}
}

// excess returns by how much the cap or the floor is broken.
func (s *Store) excess() int64 {
	u := s.Usage()
	limit, _ := s.limits()
	return max(u.TotalBytes-limit, u.MinFreeBytes-(u.FreeBytes+s.credit()))
}

// decide sets whether appends are refused. stuck says that the budget is exceeded
// and that nothing could be evicted.
func (s *Store) decide(stuck bool) {
	u := s.Usage()
	low, high := s.limits()
	was := s.refusing.Load()
	refuse := stuck && (u.TotalBytes > high || u.FreeBytes < u.MinFreeBytes)
	if was { // MinFreeBytes is the raised one
		refuse = u.TotalBytes > low || u.FreeBytes < u.MinFreeBytes
	}
	// Something else fills the disk faster than data are evicted.
	refuse = refuse || u.FreeBytes < u.MinFreeBytes/2
	s.refusing.Store(refuse)
	if refuse == s.refused {
		return // guard may have set it in between
	}
	s.refused = refuse
	if refuse {
		s.metrics.refusing.Set(1)
		level.Error(s.logger).Log("msg", "Appends are refused: there is no space, and nothing is left to evict", "total_bytes", u.TotalBytes, "max_bytes", u.MaxBytes, "free_bytes", u.FreeBytes, "min_free_bytes", u.MinFreeBytes)
		return
	}
	s.metrics.refusing.Set(0)
	level.Info(s.logger).Log("msg", "Appends are accepted again", "total_bytes", u.TotalBytes, "free_bytes", u.FreeBytes)
}

// guard refuses appends at once when a finished segment eats up the room that the
// last sweep left: the sweeps cannot keep up, and the next one may come too
// late for the cap. It decides anew. Callers hold mu.
func (s *Store) guard(segmentBytes int64) {
	s.grown += segmentBytes
	if s.usage.TotalBytes+s.grown > s.refuseAbove {
		s.refusing.Store(true)
	}
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

// evictable chooses the oldest segments, enough to free a number of bytes, or as
// many as go in one step. Callers hold op.
func (s *Store) evictable(bytes int64) (batch, bool) {
	live := s.opts.LiveSegment()
	checkpoint := s.checkpointBytes()
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.generations[0]
	b := batch{g: g}
	left := g.segments
	if g.number == s.current {
		left = left[:max(0, len(left)-1)] // never the one being written
		b.inWAL = len(left) > 0 && left[0].inWAL
	}
	if b.inWAL {
		// Each step costs a checkpoint; a few at once keep that cheap.
		bytes = max(bytes, min(4*checkpoint, s.opts.MaxBytes/8))
	}
	for _, seg := range left {
		if b.bytes >= min(bytes, evictAtOnce) || seg.inWAL != b.inWAL || seg.inWAL && seg.index >= live {
			break
		}
		b.segments = append(b.segments, seg.index)
		b.bytes += seg.size
	}
	n := len(b.segments)
	if n == len(g.segments) && g.number != s.current {
		b.whole = true
		next := s.generations[1]
		b.to.Generation = next.number
		b.to.Segment, _ = next.first()
		return b, true
	}
	if n == 0 {
		return batch{}, false
	}
	b.to = Position{Generation: g.number, Segment: g.segments[n].index}
	return b, true
}

// evict unlinks a batch, after what others need of it has been put elsewhere and
// the owners of marks have been told. Callers hold op.
func (s *Store) evict(b batch) error {
	if err := s.preserve(b); err != nil {
		return err
	}
	s.mu.Lock()
	needed := b.to.Compare(s.released) > 0
	s.mu.Unlock()
	if needed {
		s.opts.OnEvict(b.to)
	}
	if b.inWAL && b.segments[len(b.segments)-1] >= s.opts.LiveSegment() {
		return nil // a watcher has started meanwhile, and must find what it has listed
	}
	if needed {
		if s.logLimiter.allow("evict") {
			level.Warn(s.logger).Log("msg", "No space left for the oldest data", "kept_from", b.to, "segments", len(b.segments), "bytes", b.bytes)
		}
		s.metrics.evicted.Add(float64(len(b.segments)))
		s.metrics.evictedBytes.Add(float64(b.bytes))
	}
	s.mu.Lock()
	s.evicted = maxPosition(s.evicted, b.to)
	s.mu.Unlock()
	before, err := freeBytes(s.opts.Dir)
	if err != nil {
		return err
	}
	if err := s.unlinkBatch(b); err != nil {
		return err
	}
	after, err := freeBytes(s.opts.Dir)
	s.frees = append(s.frees, freed{at: time.Now(), bytes: max(0, b.bytes-max(0, after-before))})
	return err
}

// preserve puts the series of a batch where those will find them that read what is
// behind it.
func (s *Store) preserve(b batch) error {
	switch {
	case b.whole:
		return nil
	case b.inWAL:
		return s.publish(b.segments[len(b.segments)-1])
	default:
		return s.rescue(b.g, b.segments, b.to.Segment)
	}
}

func (s *Store) unlinkBatch(b batch) error {
	if b.whole {
		return s.removeGeneration(b.g)
	}
	if err := s.unlinkSegments(b.g, b.segments); err != nil {
		return err
	}
	if b.inWAL {
		// Upstream would do so with its next truncation, which may be many of ours
		// away.
		if err := wlog.DeleteCheckpoints(s.walDir, b.segments[len(b.segments)-1]); err != nil {
			return err
		}
	}
	return s.prune(b.g)
}

// freed is space that was given up and did not appear as free.
type freed struct {
	at    time.Time
	bytes int64
}

// credit returns the space that is expected to become free soon.
func (s *Store) credit() (sum int64) {
	recent := s.frees[:0]
	for _, f := range s.frees {
		if time.Since(f.at) < creditFor {
			recent = append(recent, f)
			sum += f.bytes
		}
	}
	s.frees = recent
	return sum
}
