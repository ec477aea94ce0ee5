// Package backlog keeps on disk what the write-ahead log would delete before it
// was delivered. It knows nothing of destinations: it numbers positions, reads
// from any of them, and unlinks what nobody needs any more, or what the budget
// no longer allows.
//
// The directory:
//
//	wal/                        upstream's, this run's generation only
//	backlog/00000007/           one generation: what one run of the process wrote
//	backlog/00000007/00000004   a segment; in the running generation a hard link of wal/00000004
//	backlog/00000007/checkpoint.00000003/  hard links of a checkpoint
//	backlog/00000007/series/00000005/      series records of unlinked segments up to 5
//	backlog/00000007/empty-since           see generation.emptySince
//	lock
//
// Every run starts with an empty wal/: Open turns what the last run left there
// into a finished generation. Segment numbers and series references are unique
// within a generation and mean nothing outside of it.
//
// # What a reader needs
//
// A series record is written once, when its series is created; every sample
// after it carries the bare reference. A segment may therefore be unlinked only
// when the series records in it can be found elsewhere. Two places count:
//
//   - checkpoint K, for what lies in segments above K, and only there: upstream
//     leaves out series which were deleted and whose last samples are in
//     segments up to K. So the newest checkpoint strictly below the oldest kept
//     segment is read, and no other.
//   - series/K, into which the series and metadata records of the unlinked
//     segments up to K were copied, and synced, first.
//
// Samples in a checkpoint are never read: upstream's checkpoints from memory
// hold one sample of value zero for each series, which was never scraped.
//
// # Positions
//
// A Position is a record boundary. Positions are ordered across generations, so
// "everything before p was delivered" is a statement about the directory as a
// whole. Release says it, eviction overrules it (Options.OnEvict).
//
// # What cannot be read
//
// A start never fails for it, and nothing waits for it for ever. A segment that is
// damaged, that something else lies in the place of, or that cannot be opened after
// some attempts is told to each reader that comes to it as Damaged, and a whole
// generation likewise; it is counted once (see metrics). A generation that cannot
// be read stays on disk; of others, what cannot be read goes with the rest.
//
// # What cannot be written
//
// A start does not fail for that either. The run has a number and no directory, and
// Unwritable says why; what is on disk is read and released as ever. What could not
// be moved out of wal/ is read there, as a part of its generation. Its number, and
// that of a run which was never on disk, is not used up: see NextGeneration.
//
// # The parts
//
// Each calls only those below it:
//
//	store.go       Store: the front, and what runs when
//	begin.go       a start; adopt.go: moves the last run's wal/; inplace.go: or reads it there
//	unwritable.go  a run that cannot write; lock.go: keeps others out
//	evict.go       cap and floor
//	release.go     unlinks what nobody needs
//	rescue.go      keeps series records of what is unlinked; publish.go: for those who read wal/
//	checkpoint.go  which checkpoints make that superfluous, and are so themselves
//	meter.go       what is used
//	budget.go      what may be used, and the size of a segment
//	tail.go        follows what is written
//	link.go        gives what is new in wal/ a second name
//	count.go       samples and bytes between positions; tally.go: where files vanish
//	reader.go      records from a position on; preamble.go: what it needs of before
//	room.go        what is left until the next sweep
//	inventory.go   what is on disk, and the lock over it; generation.go: one run's directory
//	segment.go     one file
package backlog
