package backlog

import "fmt"

const (
	defaultMaxBytes     = 1 << 30
	defaultMinFreeLeast = 16 << 20
	defaultMinFreeMost  = 256 << 20

	// segmentUnit is upstream's page: the size of a segment is a multiple of it.
	segmentUnit = 32 << 10
	// A segment costs a file, a link and some work at each eviction:
	// below minSegment it does so for little, and above maxSegment eviction and
	// release become coarse.
	minSegment = 1 << 20
	maxSegment = 8 << 20
	// segmentsWanted is how many segments are to fit into the budget: eviction and
	// release go by whole ones. leastSegments is what a small budget still gets.
	segmentsWanted = 32
	leastSegments  = 8

	// minCheckpoint is the least that a checkpoint takes: a page of upstream's log.
	minCheckpoint = segmentUnit
)

// budget is what wal/ and backlog/ may take, in bytes.
type budget struct {
	maxBytes     int64 // of both together
	minFreeBytes int64 // to be left free on the file system
	segmentBytes int64 // of one segment; a multiple of segmentUnit
}

// decideBudget returns what the options say, and what follows for that which they
// leave open from the size of the file system, 0 if that is unknown. The segment
// size follows from the budget, so the budget comes first.
func decideBudget(o Options, fileSystem int64) (budget, error) {
	b := budget{o.MaxBytes, o.MinFreeBytes, int64(o.SegmentSize)}
	if b.maxBytes < 0 || b.minFreeBytes < 0 || b.segmentBytes < 0 {
		return b, fmt.Errorf("sizes must not be negative: at most %d bytes, at least %d free, segments of %d", b.maxBytes, b.minFreeBytes, b.segmentBytes)
	}
	if b.segmentBytes%segmentUnit != 0 {
		return b, fmt.Errorf("segments of %d bytes: must be a multiple of %d", b.segmentBytes, segmentUnit)
	}
	if b.maxBytes == 0 {
		b.maxBytes = defaultMaxBytes
		if fileSystem > 0 {
			b.maxBytes = min(b.maxBytes, fileSystem/10)
		}
	}
	if b.minFreeBytes == 0 {
		b.minFreeBytes = min(max(fileSystem/20, defaultMinFreeLeast), defaultMinFreeMost)
		if fileSystem > 0 {
			b.minFreeBytes = min(b.minFreeBytes, fileSystem/4)
		}
	}
	if b.segmentBytes == 0 {
		b.segmentBytes = segmentFor(b.maxBytes)
	}
	return b, nil
}

// segmentFor returns the size of the segments that suits a budget.
func segmentFor(maxBytes int64) int64 {
	n := min(max(maxBytes/segmentsWanted, minSegment), maxSegment)
	n = min(n, maxBytes/leastSegments)
	return max(n/segmentUnit*segmentUnit, segmentUnit)
}

// coarse reports whether so few segments fit that much of the budget stays unused.
func (b budget) coarse() bool { return b.maxBytes < 4*b.segmentBytes }

// limits returns the sizes that the cap is made of, for checkpoints of an estimated
// size. Above evict, data are evicted; above refuse, it is not safe to go on
// writing. Between evict and refuse lies one segment: a new one brings about a
// sweep. Between refuse and the cap lie another one, written before anybody looks,
// the series rescued from segments, which may take as much for a moment, a
// checkpoint of upstream's, and one of ours.
func (b budget) limits(checkpoint int64) (evict, refuse int64) {
	quarter := b.maxBytes / 4
	refuse = b.maxBytes - min(2*(b.segmentBytes+checkpoint), quarter)
	return refuse - min(b.segmentBytes, quarter), refuse
}

// floor is the free space below which data are evicted. A checkpoint must always
// fit, or nothing could be truncated any more. While appends are refused it is
// higher, so that they do not start and stop with every file.
func (b budget) floor(checkpoint int64, refusing bool) int64 {
	n := max(b.minFreeBytes, 2*checkpoint)
	if refusing {
		n += n / 8
	}
	return n
}
