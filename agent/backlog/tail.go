package backlog

import (
	"errors"
	"io"
	"sync/atomic"
)

// tail follows what is written to the WAL. By doing so it learns which segments hold
// no series records (see Reader.finish).
type tail struct {
	reader *Reader // used by sweeps only

	// seriesBytes is the size of all series records in the running generation so
	// far.
	seriesBytes atomic.Int64

	// Samples are counted only where they could not be later: it costs a
	// processor what decoding costs, all the time.
	counting bool
	counter  *counter
	segment  int // that counter counts
	tallies  *tallies
}

// read goes on to the end of the WAL. Callers hold Store.op.
func (t *tail) read() error {
	for {
		rec, err := t.reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if rec.Context || rec.Kind != Data {
			continue
		}
		if isContext(rec.Type) {
			t.seriesBytes.Add(rec.End.Offset - rec.Pos.Offset)
		}
		if t.counting && isSamples(rec.Type) {
			if t.counter == nil || t.segment != rec.End.Segment {
				t.counter, t.segment = newCounter(), rec.End.Segment
			}
			t.tallies.add(rec.End.Segment, rec.End.Offset, t.counter.count(rec.Data))
		}
	}
}
