// Package ledger accounts for every sample of every destination, and holds the
// marks. It is kept by double entry: each call moves samples from one place to
// another, so that what was appended equals the sum of the places after every
// call.
//
//	Append ──► unread ──Hold──► held ──Settle──► delivered, refused, filtered, uncertain
//	             │  ▲             │
//	             │  └───Forget────┤
//	             ├──Evict──► evicted ◄── Forget, of what was evicted meanwhile
//	             └──Crossed──► lost
//
// Positions bound the places. Everything before the mark is settled, between
// mark and read it is held in memory, and what comes after read is on disk only.
// Before evicted nothing is left to read.
//
// A Book holds the accounts of all destinations under one lock, which is never
// held over I/O or a callback: every snapshot is of one moment, and nobody waits
// for a disk. delivery.json is what is kept of it (Load, Write).
package ledger
