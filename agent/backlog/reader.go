package backlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-kit/log/level"

	"github.com/prometheus/prometheus/tsdb/record"
)

// Kind says what a Record is.
type Kind int

const (
	// Data is a record of the WAL.
	Data Kind = iota
	// Generation begins another generation: references to series of the one
	// before mean something else from here on.
	Generation
	// Damaged stands for what cannot be read between Pos and End. In a Context
	// record that was needed to understand others, not to be delivered.
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
	// Pos is where the record begins, which is where the one before ended; End
	// is the position behind it. A Context record has the reader's position for
	// both.
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

// readAttempts is how often in a row a failing disk is asked for a segment, with
// the caller's pauses in between, before the rest of it is taken for damaged.
const readAttempts = 3

// Reader reads the records of the backlog in order, across segments and
// generations, up to the end of the WAL. It is for one goroutine.
type Reader struct {
	s   *Store
	pos Position
	gen *generation // being read; nil: the next one is to be chosen
	// finished says that the generation of pos has been read to its end.
	finished bool
	// wanted is the segment that comes next for delivery: the one of pos, or the
	// one after it when that has been read.
	wanted int

	preamble preamble // what is to be read before the segments

	seg      int // the segment that cur reads, or that was read last; -1 before the first
	cur      *segmentReader
	final    bool // nothing more is written to cur
	stuck    bool // the segment being written is damaged: wait for the next
	failures int  // to read, in a row

	queued []*Record // to be returned before anything else
}

// NewReader returns a reader of all that lies behind a position. It never fails:
// what is not there is Missing.
func (s *Store) NewReader(from Position) *Reader {
	return &Reader{s: s, pos: from, wanted: from.Segment, seg: -1}
}

// Position returns the position behind the last record that was not context. At
// the end of the WAL it equals Store.End, provided that nothing was written
// since.
func (r *Reader) Position() Position { return r.pos }

// Close gives back the open file.
func (r *Reader) Close() error {
	r.leave()
	return nil
}

// leave closes the open file.
func (r *Reader) leave() {
	if r.cur != nil {
		r.cur.close()
		r.cur = nil
	}
}

// Next returns the next record. io.EOF means that there is nothing more for now:
// call again after Store.Changed. Other errors are failures of the disk, and worth
// another attempt after a pause.
func (r *Reader) Next() (*Record, error) {
	for {
		if len(r.queued) > 0 {
			rec := r.queued[0]
			r.queued = r.queued[1:]
			return rec, nil
		}
		var (
			rec *Record
			err error
		)
		switch {
		case r.gen == nil:
			r.enter()
		case r.preamble.pending:
			rec, err = r.readPreamble()
		case r.cur == nil:
			err = r.openNext()
		default:
			rec, err = r.readSegment()
		}
		if rec != nil || err != nil {
			return rec, err
		}
	}
}

// enter chooses the generation to read: that of the position, or the next one
// there is.
func (r *Reader) enter() {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	at := r.pos
	if r.finished {
		at = Position{Generation: r.pos.Generation + 1}
	}
	g := s.generationFrom(at.Generation)
	if g == nil { // a position of another directory
		at = Position{}
		g = s.generations[0]
	}
	r.gen, r.seg = g, -1
	r.startPreamble()
	if g.number == r.pos.Generation {
		return
	}
	begin := Position{Generation: g.number}
	begin.Segment, _ = g.first()
	switch {
	case r.pos.IsZero():
	case at.IsZero() || s.gone(at, g, r.finished):
		r.queue(Missing, begin, -1, fmt.Errorf("nothing is left of the backlog from %s to %s", r.pos, begin))
		fallthrough
	default:
		r.pos = begin
		r.queue(Generation, begin, 0, nil)
	}
	r.pos, r.wanted, r.finished = begin, begin.Segment, false
}

// queue enters a record that ends the stretch from the current position.
func (r *Reader) queue(k Kind, end Position, lost int64, err error) {
	r.queued = append(r.queued, &Record{Kind: k, Pos: r.pos, End: end, Lost: lost, Err: err})
}

// generationFrom returns the oldest generation not below a number. Callers hold mu.
func (s *Store) generationFrom(number int) *generation {
	for _, g := range s.generations {
		if g.number >= number {
			return g
		}
	}
	return nil
}

// gone says whether data is missing between a position in another generation and
// the beginning of g, the next one there is. Callers hold mu.
func (s *Store) gone(at Position, g *generation, inOrder bool) bool {
	switch {
	case at.Compare(s.evicted) < 0 || !g.explained():
		return true
	case inOrder || g.emptySince <= at.Generation:
		return false
	default:
		return at.Compare(s.released) >= 0
	}
}

// openNext opens the segment behind the last one. io.EOF: there is none yet.
func (r *Reader) openNext() error {
	s := r.s
	s.mu.Lock()
	i, path, ok := s.nextSegment(r.gen, r.seg+1)
	later := r.gen.number != s.current || s.laterSegment(r.gen, i)
	changed := r.gen.version != r.preamble.version
	removed := r.gen.removed && r.wanted <= r.gen.removedLast
	s.mu.Unlock()
	hole := r.seg < 0 || i > r.seg+1
	switch {
	case !ok && r.gen.number == s.current:
		return io.EOF
	case !ok:
		r.gen, r.finished = nil, !removed
		return nil
	case i > r.wanted:
		end := Position{Generation: r.gen.number, Segment: i}
		r.queue(Missing, end, -1, fmt.Errorf("segments from %s to %s are missing", r.pos, end))
		r.pos, r.wanted = end, i
		if !changed {
			r.consultCheckpoints()
		}
		return nil
	case hole && changed:
		r.restartPreamble() // what was removed has been put into series/, or a checkpoint
		return nil
	case r.stuck && !later:
		return io.EOF
	case i < r.pos.Segment && s.index.seriesFree(r.gen.number, i):
		r.seg = i
		return nil
	}
	cur, err := openSegment(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r.s.vanished(r.gen, i)
	}
	if err != nil {
		return r.failed(err)
	}
	r.cur, r.seg, r.final, r.stuck = cur, i, later, false
	if i > r.pos.Segment {
		r.pos.Segment, r.pos.Offset = i, 0
	}
	return nil
}

// nextSegment returns the oldest segment of a generation not below i, and where
// to read it. Callers hold mu.
func (s *Store) nextSegment(g *generation, i int) (int, string, bool) {
	if i, ok := g.from(i); ok {
		return i, s.pathOf(g, g.segment(i)), true
	}
	if g.number != s.current {
		return 0, "", false
	}
	// Upstream may have begun it since the last sweep.
	if last, ok := g.last(); ok {
		i = max(i, last+1)
	}
	path := filepath.Join(s.walDir, segmentName(i))
	_, err := os.Lstat(path)
	return i, path, err == nil
}

// laterSegment says whether segment i is complete. Callers hold mu.
func (s *Store) laterSegment(g *generation, i int) bool {
	_, _, ok := s.nextSegment(g, i+1)
	return ok
}

// vanished handles a segment that is in the inventory and not on disk. Where
// upstream deletes what is not linked, the next sweep will have the right
// checkpoint to go on with; elsewhere somebody removed the file.
func (s *Store) vanished(g *generation, i int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg := g.segment(i)
	if seg == nil {
		return nil
	}
	if !seg.linked {
		return io.EOF
	}
	if _, err := os.Lstat(s.pathOf(g, seg)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	g.removeSegment(i)
	return nil
}

func (r *Reader) failed(err error) error {
	r.failures++
	return fmt.Errorf("cannot read the backlog at %s: %w", r.pos, err)
}

// readSegment returns the next record of the open segment, or nil when there is
// something else to do first.
func (r *Reader) readSegment() (*Record, error) {
	for {
		data, err := r.cur.next()
		if err != nil {
			return r.endOfSegment(err)
		}
		t := recordType(data)
		end := Position{Generation: r.gen.number, Segment: r.seg, Offset: r.cur.end}
		if end.Compare(r.pos) > 0 {
			r.failures = 0 // not before: a reopened segment begins with what was read already
			rec := &Record{Pos: r.pos, End: end, Type: t, Data: data}
			r.pos = end
			return rec, nil
		}
		if isContext(t) {
			return &Record{Pos: r.pos, End: r.pos, Context: true, Type: t, Data: data}, nil
		}
	}
}

func (r *Reader) endOfSegment(err error) (*Record, error) {
	if isReadFailure(err) && r.failures < readAttempts-1 {
		r.reopen()
		return nil, r.failed(err)
	}
	if r.final {
		return r.finish(err)
	}
	r.s.mu.Lock()
	later := r.s.laterSegment(r.gen, r.seg)
	r.s.mu.Unlock()
	if !errors.Is(err, io.EOF) {
		// Perhaps a write was seen half done. Look again when the segment is
		// complete; upstream goes on writing behind the damage until then.
		r.reopen()
		r.stuck = !later
		if later {
			return nil, nil
		}
		return nil, io.EOF
	}
	if later {
		r.final = true // what was written before the later one came into being is still to be read
		return nil, nil
	}
	if err := r.cur.settle(); err != nil {
		r.reopen()
		return nil, r.failed(err)
	}
	if r.seg == r.pos.Segment {
		r.pos.Offset = max(r.pos.Offset, r.cur.end)
	}
	return nil, io.EOF
}

// reopen makes openNext open the same segment again.
func (r *Reader) reopen() {
	r.leave()
	r.seg--
}

// finish leaves a complete segment, of which err ended the reading.
func (r *Reader) finish(err error) (*Record, error) {
	size, clean, rerr := r.cur.rest()
	if rerr != nil {
		size, clean = r.cur.end, false
	}
	read := r.cur.end
	r.leave()
	r.failures = 0
	before := r.pos
	if r.seg == r.pos.Segment {
		r.pos.Offset = max(r.pos.Offset, size)
		r.wanted = r.seg + 1
	}
	if errors.Is(err, io.EOF) {
		if clean {
			return nil, nil
		}
		if r.lastOfKilledRun() {
			level.Debug(r.s.logger).Log("msg", "The last record of a run is cut", "generation", r.gen.number, "segment", r.seg, "offset", read, "size", size)
			return nil, nil
		}
		err = errCut
	}
	name := Position{Generation: r.gen.number, Segment: r.seg, Offset: read}
	r.s.noteDamage(name.String(), size-read)
	r.consultCheckpoints()
	err = fmt.Errorf("segment %s is damaged: %w", name, err)
	if r.pos == before { // all of it was read already, when it could be
		return &Record{Kind: Damaged, Pos: r.pos, End: r.pos, Context: true, Lost: size - read, Err: err}, nil
	}
	lost := size - max(read, before.Offset)
	return &Record{Kind: Damaged, Pos: before, End: r.pos, Lost: lost, Err: err}, nil
}

func (r *Reader) lastOfKilledRun() bool {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.gen.number != r.s.current && !r.s.laterSegment(r.gen, r.seg)
}
