package backlog

import "github.com/prometheus/prometheus/tsdb/record"

// Kind says what a Record is.
type Kind int

const (
	// Data is a record of the WAL.
	Data Kind = iota
	// Generation begins another generation: references to series of the one
	// before mean something else from here on.
	Generation
	// Damaged stands for what is on disk between Pos and End and cannot be read. In
	// a Context record that was needed to understand others, not to be delivered.
	Damaged
	// Missing stands for segments between Pos and End that are not there:
	// evicted, or removed by somebody.
	Missing
)

// String returns the name of k for log lines.
func (k Kind) String() string {
	return [...]string{"data", "generation", "damaged", "missing"}[k]
}

// Record is what a Reader returns.
type Record struct {
	Kind Kind
	// Pos is where the record begins, and End the position behind it. A Context
	// record has the reader's position for both. How they follow each other is
	// said at Reader.
	Pos, End Position
	// Context records define series, or metadata of them, and lie before the
	// position from which was read, or in a checkpoint. They are not to be
	// counted, nor to move a mark.
	Context bool
	Type    record.Type // of Data
	Data    []byte      // of Data; valid until the next call
	// Lost is the number of bytes on disk that cannot be read, -1 if that is
	// unknown.
	Lost int64
	Err  error // what is wrong, of Damaged and Missing
}
