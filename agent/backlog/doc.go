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
package backlog
