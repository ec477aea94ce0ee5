package backlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

// Reader reads the records of the backlog in order, across segments and
// generations, up to the end of the WAL. It is for one goroutine.
//
// Of the records that are not Context, each begins at or behind the End of the one
// before, and nothing that could be delivered lies in between: only padding, and the
// step to another segment or generation. Data, Damaged and Missing end behind their
// Pos; Generation has the beginning of the generation for both. So
//
//   - all samples between a Pos and an End, as Store.Count would find them, are in
//     the record if it is Data, and none are if it is Damaged or Missing;
//   - what was appended between Pos and End of a Damaged or Missing record is never
//     returned by this reader, and after End has become a mark by no other.
//
// A Damaged record ends where its segment ends; if all of the segment cannot be
// read and its size is unknown, at the beginning of the next segment; if it is of
// a whole generation, at the beginning of the next one there is. A Missing record
// ends at the beginning of the next segment, or generation, that can be read, or,
// when the last segments of a generation are missing, behind them: there need not
// be a segment of the number that End names. Several damaged segments in a row are
// several records, missing ones are one.
//
// Context records, Damaged ones included, may come at any time; they have the
// position of the last record for Pos and End.
type Reader struct {
	inv    *inventory
	damage *damageLog
	logger log.Logger

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
	context  bool // cur has shown a series or metadata record
	final    bool // nothing more is written to cur
	stuck    bool // the segment being written is damaged: wait for the next
	failures int  // to read, in a row

	queued []*Record // to be returned before anything else
}

func newReader(inv *inventory, damage *damageLog, logger log.Logger, from Position) *Reader {
	return &Reader{
		inv: inv, damage: damage, logger: logger, pos: from, wanted: from.Segment, seg: -1,
		preamble: preamble{inv: inv, damage: damage},
	}
}

// Position returns the position behind the last record that was not context. At
// the end of the WAL it equals Store.End, provided that nothing was written
// since.
func (r *Reader) Position() Position { return r.pos }

// Close gives back the open file.
func (r *Reader) Close() {
	r.leave()
	r.preamble.leave()
}

// leave closes the open segment.
func (r *Reader) leave() {
	if r.cur != nil {
		r.cur.close()
		r.cur = nil
	}
}

// Next returns the next record. io.EOF means that there is nothing more for now:
// call again after Store.Changed. Other errors are failures of the disk, and worth
// another attempt after a pause. The record and its data are valid until the next
// call.
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
	inv := r.inv
	inv.mu.Lock()
	defer inv.mu.Unlock()
	at := r.pos
	if r.finished {
		at = Position{Generation: r.pos.Generation + 1}
	}
	g := inv.generationFrom(at.Generation)
	if g == nil { // a position of another directory
		at = Position{}
		g = inv.generations[0]
	}
	r.gen, r.seg = g, -1
	r.preamble.start(g)
	if g.number == r.pos.Generation {
		return
	}
	begin := Position{Generation: g.number}
	begin.Segment, _ = g.first()
	broken := inv.unreadable(at.Generation, g.number)
	switch {
	case broken != nil:
		r.queue(Damaged, begin, -1, broken)
		r.pos = begin
		r.queue(Generation, begin, 0, nil)
	case r.pos.IsZero():
	case at.IsZero() || inv.gone(at, g, r.finished):
		r.queue(Missing, begin, -1, fmt.Errorf("nothing is left of the backlog from %s to %s", r.pos, begin))
		fallthrough
	default:
		r.pos = begin
		r.queue(Generation, begin, 0, nil)
	}
	r.pos, r.wanted, r.finished = begin, begin.Segment, false
}

// readPreamble returns the next series or metadata record, or nil when there is
// something else to do first.
func (r *Reader) readPreamble() (*Record, error) {
	rec, err := r.preamble.next()
	switch {
	case errors.Is(err, errReplaced):
		r.restart()
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("cannot read the backlog at %s: %w", r.pos, err)
	case rec != nil:
		rec.Pos, rec.End, rec.Context = r.pos, r.pos, true
	}
	return rec, nil
}

// restart begins with the preamble again, for what was removed since it was read.
// Some series are told twice.
func (r *Reader) restart() {
	r.leave()
	r.inv.mu.Lock()
	defer r.inv.mu.Unlock()
	r.preamble.start(r.gen)
	r.seg = -1
}

// queue enters a record that ends the stretch from the current position.
func (r *Reader) queue(k Kind, end Position, lost int64, err error) {
	r.queued = append(r.queued, &Record{Kind: k, Pos: r.pos, End: end, Lost: lost, Err: err})
}

// queueContext enters damage to what was to be read for context only.
func (r *Reader) queueContext(lost int64, err error) {
	r.queued = append(r.queued, &Record{Kind: Damaged, Pos: r.pos, End: r.pos, Context: true, Lost: lost, Err: err})
}

// openNext opens the segment behind the last one. io.EOF: there is none yet.
func (r *Reader) openNext() error {
	next := r.inv.lookAhead(r.gen, r.seg+1)
	hole := r.seg < 0 || next.segment > r.seg+1
	changed := next.version != r.preamble.version
	switch {
	case !next.ok && r.gen.number == r.inv.current:
		return io.EOF
	case !next.ok:
		r.finishGeneration(next)
		return nil
	case next.segment > r.wanted:
		r.skipTo(next.segment)
		if !changed {
			r.preamble.consult()
		}
		return nil
	case hole && changed:
		r.restart() // what was removed has been put into series/, or a checkpoint
		return nil
	case r.stuck && !next.later:
		return io.EOF
	case next.segment < r.pos.Segment && next.contextFree:
		r.seg = next.segment
		return nil
	}
	cur, err := openSegment(next.path)
	if errors.Is(err, fs.ErrNotExist) {
		return r.inv.vanished(r.gen, next.segment)
	}
	if err != nil {
		return r.notOpened(next, err)
	}
	r.cur, r.seg, r.final, r.stuck, r.context = cur, next.segment, next.later, false, false
	if r.seg > r.pos.Segment {
		r.pos.Segment, r.pos.Offset = r.seg, 0
	}
	return nil
}

// skipTo moves to a segment because those before it are not there.
func (r *Reader) skipTo(segment int) {
	end := Position{Generation: r.gen.number, Segment: segment}
	r.queue(Missing, end, -1, fmt.Errorf("segments from %s to %s are missing", r.pos, end))
	r.pos, r.wanted = end, segment
}

// finishGeneration leaves a finished generation of which no segment is left to read.
func (r *Reader) finishGeneration(o outlook) {
	unread := r.pos.Compare(o.end) < 0
	if unread && !o.removed {
		last := o.end.Segment
		if o.end.Offset > 0 {
			last++
		}
		r.skipTo(last) // they were there when the store was opened
	}
	r.gen, r.finished = nil, !unread || !o.removed
}

// notOpened handles a segment that is there and cannot be opened. A process that has
// no file to spare waits; else, after some attempts, it is given up.
func (r *Reader) notOpened(o outlook, err error) error {
	if isScarcity(err) {
		return fmt.Errorf("cannot read the backlog at %s: %w", r.pos, err)
	}
	if r.failures < readAttempts-1 {
		return r.failed(err)
	}
	if !o.later { // as with other damage to the segment being written
		r.stuck = true
		return io.EOF
	}
	name := Position{Generation: r.gen.number, Segment: o.segment}
	end, lost := name, o.size
	end.Offset = o.size
	if o.strange {
		end, lost = Position{Generation: r.gen.number, Segment: o.segment + 1}, -1
	}
	if r.damage.note(name.String(), lost) {
		level.Error(r.logger).Log("msg", "A segment cannot be read", "generation", name.Generation, "segment", name.Segment, "bytes", lost, "err", err)
	}
	r.seg, r.failures, r.stuck = o.segment, 0, false
	r.wanted = max(r.wanted, o.segment+1)
	err = fmt.Errorf("segment %s cannot be read: %w", name, err)
	if end.Compare(r.pos) <= 0 || lost == 0 { // all of it was read already, when it could be
		r.queueContext(lost, err)
	} else {
		if o.segment == r.pos.Segment && lost > 0 {
			lost -= r.pos.Offset
		}
		r.queue(Damaged, end, lost, err)
		r.pos = end
	}
	r.preamble.consult()
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
		r.context = r.context || isContext(t)
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
	later := r.inv.later(r.gen, r.seg)
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
		size, clean = max(size, r.cur.end), false
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
			context := r.context
			r.inv.learn(r.gen, r.seg, func(seg *segment) { seg.contextFree = !context })
			return nil, nil
		}
		if r.gen.number != r.inv.current && !r.inv.later(r.gen, r.seg) {
			level.Debug(r.logger).Log("msg", "The last record of a run is cut", "generation", r.gen.number, "segment", r.seg, "offset", read, "size", size)
			return nil, nil
		}
		err = errCut
	}
	lost := size - max(read, before.Offset)
	if isReadFailure(err) && size == 0 && r.seg == r.pos.Segment {
		// It claims to be empty. What is empty can be read.
		r.pos, lost = Position{Generation: r.gen.number, Segment: r.seg + 1}, -1
	}
	name := Position{Generation: r.gen.number, Segment: r.seg, Offset: read}
	r.damage.note(name.String(), size-read)
	r.preamble.consult()
	err = fmt.Errorf("segment %s is damaged: %w", name, err)
	if r.pos == before { // all of it was read already, when it could be
		return &Record{Kind: Damaged, Pos: r.pos, End: r.pos, Context: true, Lost: size - read, Err: err}, nil
	}
	return &Record{Kind: Damaged, Pos: before, End: r.pos, Lost: lost, Err: err}, nil
}
