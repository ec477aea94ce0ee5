package backlog

import (
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
)

// Options of a Store.
type Options struct {
	// Dir is the storage directory; wal/ and backlog/ lie in it.
	Dir string

	// MinGeneration is the least number that the new generation may have. The
	// caller remembers it next to its marks: a number that a mark knows must
	// never come back with other content, even if the directory is gone.
	MinGeneration int

	// MaxBytes bounds wal/ and backlog/ together. 0 means 10 % of the file
	// system, at most 1 GiB.
	MaxBytes int64

	// MinFreeBytes is what the store leaves free on the file system, and in any
	// case the room of two checkpoints. 0 means 5 % of the file system, at
	// least 16 MiB, at most 256 MiB and at most a quarter of the file system.
	MinFreeBytes int64

	// SyncInterval is how long what is written to the WAL may wait for a sync, which
	// is how much a power cut may cost. What is Delivered by then waits for the next
	// one. 0 means never: upstream syncs a segment only when it is full.
	SyncInterval time.Duration

	// Delivered returns the position before which nobody needs anything any more, of
	// this moment and not of what is on disk. nil means that nothing was delivered.
	Delivered func() Position

	// SegmentSize is that of the WAL, in bytes, a multiple of 32 KiB: what may be
	// written between two looks at the budget is reckoned with it. 0 means a
	// 32nd of MaxBytes, 1 to 8 MiB, but so small that 8 segments fit. The WAL must
	// be opened with Store.SegmentSize.
	SegmentSize int

	Logger     log.Logger
	Registerer prometheus.Registerer // a fresh one; nil: no metrics

	// OnEvict is called before anything before position to is unlinked because
	// of the budget. The callee may read and count what goes, and moves its
	// marks to it. Only where the file system has no hard links, upstream may
	// have deleted it already; Count still knows the numbers then. It must not
	// call Sweep or Close, and a Release takes effect after it has returned.
	OnEvict func(to Position)

	// LiveSegment returns the lowest segment in wal/ that every live watcher has
	// reached; the files of wal/ below it may be evicted. math.MaxInt when
	// nobody is live. While a watcher starts, it reads wal/ from the beginning,
	// and a file that vanishes under it makes it start again with a gap: return
	// 0 then. nil means that nobody is ever live.
	LiveSegment func() int

	link linkFunc // os.Link; tests take hard links away
}
