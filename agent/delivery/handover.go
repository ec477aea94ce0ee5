package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/upstreamqueue"
)

// # The hand-over
//
// A destination that is behind is served by the drainer; one that is live is
// served by upstream's queue manager. Between the two lies one moment that must
// lose nothing, and that upstream does not offer: a queue cannot be told where
// to begin.
//
// What upstream does is told in upstreamqueue/assumptions.go. In short: a queue's
// watcher takes the time, H, and then tails the WAL from the beginning of the
// last segment, S. It forwards every exemplar, and every sample with T > H; a
// sample with T <= H it never sends, for the whole life of the queue, and does
// not count it.
//
// So what the queue will send is a matter of (S, H) alone, and anyone who reads
// the same segments with the same relabelling knows the sequence:
//
//	        S begins          P: drained up to here
//	 ───────┼─────────────────┼──────────────────────────────▶ WAL
//	        │ exemplars, T > H │  T > H: the queue's
//	        │ again: overlap   │  T <= H: ours, at once
//
// P is the cursor of the drainer. Everything before it has been acknowledged,
// so what the queue sends of [S, P) it sends again: future timestamps and
// exemplars, which an endpoint takes as the duplicates they are. From P on, the
// cursor is read on by the follower, record by record, as the queue's watcher
// does. What has T > H is written down as expected, in order; with one shard
// the queue is first in, first out, so its acknowledgements, counted, say how
// far it is. What has T <= H (explicit old timestamps, end-of-run stale
// markers, scrapes begun before H and committed after) is sent by the follower
// itself, and no batch of the queue is let go before: the follower holds it
// until it has read as far as the batch reaches. Therefore no series goes
// backwards, and a batch that holds more than the follower has read at the
// WAL's end proves that the two sequences differ; then the destination goes
// behind, from the mark.
//
// For all this the follower needs references and times, and keeps no labels: two bits
// say of a series whether it is known and dropped (selection.Outline). For the samples
// that it sends itself the labels are read from the WAL again, and kept while more such
// samples come (lateLabels).
//
// H cannot be asked for, but it has narrow bounds. A sample with T between them
// may or may not be the queue's. It is sent by us, and expected as well: the
// mark can then only be too low, never too high. Overlap costs a replay, a gap
// costs data. By as many as the queue did not send, it may be ahead of what is
// expected: what is expected tells no more how far a batch reaches, only that all
// was read that was there when the batch was held.
//
// S is the last segment when the watcher looked. It is known when the last
// segment was the same before and after, and the cursor was in it; else the
// queue is stopped again and the drainer goes on.
//
// A first start, a restart, a reload and the end of an outage all come this
// way. There is no other.

// handOver starts upstream's queue for a destination whose cursor is at the
// WAL's end, and returns who follows it. On error the destination is behind
// again.
func (t *destination) handOver(ctx context.Context, c *cursor) (*follower, error) {
	from := c.reader.Position()
	if end := t.store.End(); from.Generation != end.Generation || from.Segment != end.Segment {
		return nil, t.notHandedOver(segmentCut, nil)
	}
	e := t.inForce().WithBatchSize(t.queueSize())
	f := newFollower(t, c, e, from)
	// The queue's time lies ahead: what is sent again if it were now, is then.
	now := time.Now().UnixMilli()
	if again, err := f.countAgain(from, now, now); err == nil && again.samples > 0 && t.refusesAgain() {
		return nil, t.wouldSendAgain(from)
	}
	sends, err := f.entry(ctx)
	if err != nil {
		return nil, t.notHandedOver(queueFailed, err)
	}
	q, err := t.queues.Start(ctx, sends, e.External, upstreamqueue.Observer{Entry: f.entry, Before: f.before, After: f.after})
	if err != nil {
		return nil, t.notHandedOver(queueFailed, err)
	}
	f.adopt(q)
	if end := t.store.End(); end.Segment != from.Segment {
		f.end()
		return nil, t.notHandedOver(segmentCut, nil)
	}
	again, err := f.countAgain(from, f.notSentUpTo, f.sentIfAfter)
	if err != nil {
		f.end()
		return nil, t.notHandedOver(queueFailed, fmt.Errorf("cannot read what the queue sends again: %w", err))
	}
	if again.samples > 0 && t.refusesAgain() {
		f.end()
		return nil, t.wouldSendAgain(from)
	}
	t.on(event{kind: handedOver})
	c.selection = nil // the queue has the labels now
	f.begin(again)
	if f.sentIfAfter != f.notSentUpTo {
		level.Debug(t.logger).Log("msg", "The start of upstream's queue is known to a few milliseconds only", "ms", f.sentIfAfter-f.notSentUpTo)
	}
	return f, nil
}

func (t *destination) notHandedOver(kind eventKind, err error) error {
	d := t.on(event{kind: kind})
	if err != nil {
		return fmt.Errorf("%s: %w", d.why, err)
	}
	return errors.New(d.why)
}

// wouldSendAgain keeps the destination behind until the WAL has begun another
// segment: in this one, nothing will have changed.
func (t *destination) wouldSendAgain(from backlog.Position) error {
	t.mtx.Lock()
	t.doubtful = &suspicion{at: from, settled: true}
	t.mtx.Unlock()
	return t.notHandedOver(wouldSendAgain, nil)
}

// refusesAgain reports whether the endpoint is known, or has to be suspected, to
// refuse whole requests for samples that it has already.
func (t *destination) refusesAgain() bool {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	return t.machine.partial == partialRolledBack || t.machine.partial == partialUnknown && t.doubtful != nil
}

// overlap is what a queue sends although it has been delivered.
type overlap struct {
	items   int
	samples int // of items: no endpoint refuses a request for exemplars that it has
	unsure  int // of items: perhaps it does not send them
}

// countAgain counts the items in [S, to) that a queue sends which sends nothing up to
// one time, in milliseconds, and all behind another.
func (f *follower) countAgain(to backlog.Position, notSentUpTo, sentIfAfter int64) (again overlap, err error) {
	if to.Offset == 0 {
		return again, nil
	}
	r := f.t.store.NewReader(backlog.Position{Generation: to.Generation, Segment: to.Segment})
	defer r.Close()
	for {
		rec, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return again, nil
		case err != nil:
			return overlap{}, err
		case rec.Pos.Compare(to) >= 0 && !rec.Context:
			return again, nil
		case rec.Kind != backlog.Data || rec.Context:
			continue
		}
		if err := f.outline.Read(rec); err != nil {
			continue // the watcher stops at such a record as well, and is found out
		}
		s := shareOut(f.outline, notSentUpTo, sentIfAfter)
		again.items += s.queued
		again.samples += s.queued - f.outline.Exemplars
		again.unsure += s.both
	}
}
