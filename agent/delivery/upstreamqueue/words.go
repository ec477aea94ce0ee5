package upstreamqueue

import (
	"log/slog"
	"strings"
)

// What upstream's queue logs of a batch that it does not send again, and of one that it
// does.
const (
	batchEnded   = "non-recoverable error"
	batchRetried = "Failed to send batch, retrying"
)

// batchNotSentAgain is what is logged for batchEnded.
const batchNotSentAgain = "The queue does not send this batch again: the ledger tells what becomes of it"

// retold is what is logged for a line of upstream's: in its words a batch is lost that
// lies on disk, and a token that was renewed is a failure.
func retold(r slog.Record) slog.Record {
	switch r.Message {
	case batchEnded:
		return endedBatch(r)
	case batchRetried:
		// Upstream's errors do not unwrap.
		if strings.HasSuffix(wordsOf(r, "err"), errTaken.Error()) {
			r.Level = slog.LevelDebug
		}
	}
	return r
}

// endedBatch says of a batch only what upstream knows of it. The endpoint's words are in
// the log by then, with the level that they deserve.
func endedBatch(r slog.Record) slog.Record {
	keys := map[string]string{"failedSampleCount": "samples", "failedHistogramCount": "histograms", "failedExemplarCount": "exemplars"}
	told := slog.NewRecord(r.Time, slog.LevelInfo, batchNotSentAgain, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if key, ok := keys[a.Key]; ok {
			a.Key = key
		}
		told.AddAttrs(a)
		return true
	})
	return told
}

// wordsOf is an attribute of a record as it would be logged; empty if it has none.
func wordsOf(r slog.Record, key string) (words string) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == key {
			words = a.Value.String()
		}
		return a.Key != key
	})
	return words
}
