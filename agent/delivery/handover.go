package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// # The hand-over
//
// A destination that is behind is served by the drainer; one that is live is
// served by upstream's queue manager. Between the two lies one moment that must
// lose nothing, and that upstream does not offer: a queue cannot be told where
// to begin.
//
// What upstream does (tsdb/wlog/watcher.go, v0.315.0). When a queue starts, its
// watcher takes the time: H. It reads the series records of all segments but
// the last, and then tails the WAL from the beginning of the last segment, S.
// From there on it forwards every exemplar, and every sample with T > H; a
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
// itself, and no batch of the queue is let go before: the follower holds it at
// the door until it has read as far as the batch reaches. Therefore no series
// goes backwards, and a batch that holds more than the follower has read at the
// WAL's end proves that the two sequences differ; then the destination goes
// behind, from the mark.
//
// H cannot be asked for, but it has narrow bounds: the queue registers its
// metrics just before the watcher takes the time, and the watcher's own metrics
// move just after. Mostly both lie in the same millisecond and H is known. If
// not, a sample with T between the bounds may or may not be the queue's. It is
// sent by us, and expected as well: the mark can then only be too low, never
// too high. Overlap costs a replay, a gap costs data.
//
// S is the last segment when the watcher looked. It is known when the last
// segment was the same before and after, and the cursor was in it; else the
// queue is stopped again and the drainer goes on.
//
// A first start, a restart, a reload and the end of an outage all come this
// way. There is no other.

// errSegmentCut says that the WAL began a new segment during the hand-over.
var errSegmentCut = errors.New("the WAL began a new segment at that moment")

// errSentAgain says that the queue would begin with samples that are delivered
// already, at an endpoint that refuses all of a request for these. A segment
// that begins without samples from the future mends it.
var errSentAgain = errors.New("upstream's queue would send samples with future timestamps again")

// handOver starts upstream's queue for a destination whose cursor is at the
// WAL's end, and returns who follows it.
func (t *destination) handOver(c *cursor) (*follower, error) {
	from := c.reader.Position()
	if end := t.d.store.End(); from.Generation != end.Generation || from.Segment != end.Segment {
		return nil, errSegmentCut
	}
	e := t.endpoint()
	f := newFollower(t, c, e)
	f.stopObserving = observe(e.name, e.cfg.URL.String(), f)
	notBefore, notAfter, err := t.d.queues.start(e)
	if err != nil {
		f.stopObserving()
		return nil, err
	}
	f.sentIfAfter, f.notSentUpTo = notAfter.UnixMilli(), notBefore.UnixMilli()
	if end := t.d.store.End(); end.Segment != from.Segment {
		f.end()
		return nil, errSegmentCut
	}
	again, err := f.countAgain(from)
	if err != nil {
		f.end()
		return nil, fmt.Errorf("cannot read what the queue sends again: %w", err)
	}
	if again > 0 && t.mannerOf() == allOrNothing {
		f.end()
		return nil, errSentAgain
	}
	f.begin(again, from)
	if f.sentIfAfter != f.notSentUpTo {
		level.Debug(t.logger).Log("msg", "the start of upstream's queue is known to a few milliseconds only", "ms", f.sentIfAfter-f.notSentUpTo)
	}
	return f, nil
}

// countAgain counts the items in [S, P) that the queue sends although they have
// been delivered. Where H leaves it open, an item is counted: see above.
func (f *follower) countAgain(to backlog.Position) (int, error) {
	if to.Offset == 0 {
		return 0, nil
	}
	r := f.t.d.store.NewReader(backlog.Position{Generation: to.Generation, Segment: to.Segment})
	defer r.Close()
	s := f.c.sieve.twin()
	n := 0
	for {
		rec, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return 0, err
		case rec.Pos.Compare(to) >= 0 && !rec.Context:
			return n, nil
		case rec.Kind != backlog.Data || rec.Context:
			continue
		}
		if err := s.read(rec); err != nil {
			continue // the watcher stops at such a record as well, and is found out
		}
		for _, it := range s.items {
			if it.kind == exemplarItem || it.t > f.notSentUpTo {
				n++
			}
		}
	}
}

func (t *destination) mannerOf() manner {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	return t.manner
}

// shrink makes the destination's requests smaller, for as long as its
// configuration stays.
func (t *destination) shrink(n int) {
	t.mtx.Lock()
	t.e = t.e.withBatchSize(n)
	t.mtx.Unlock()
	level.Warn(t.logger).Log("msg", "the endpoint finds requests too large: sending fewer samples in each", "max_samples_per_send", n)
}

// end stops the queue. After it returns, the queue sends nothing any more, and
// what was acknowledged in the meantime is in the mark. Unless there was
// trouble, the door is kept open meanwhile: what the queue flushes need not be
// sent again.
func (f *follower) end() {
	t := f.t
	stopped := make(chan error, 1)
	go func() { stopped <- t.d.queues.stop(f.e.name) }()
	// What the queue never sends is sent here, and an endpoint may hang.
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	var err error
	for waiting := true; waiting; {
		select {
		case err = <-stopped:
			waiting = false
		case <-f.wake:
			if f.stopped() == nil {
				if err := f.readOn(ctx); err != nil {
					f.stop(err)
				}
			}
		}
	}
	if err != nil {
		level.Error(t.logger).Log("msg", "cannot stop upstream's queue", "err", err)
	}
	f.stopObserving()
	t.mtx.Lock()
	defer t.mtx.Unlock()
	// What the follower has read may have been on its way.
	if t.sent.Compare(t.read) < 0 {
		t.sent, t.sentUntil = t.read, 0
	}
}

var _ observer = (*follower)(nil)

// before implements observer: it holds a batch at the door until the follower
// has read as far as the batch reaches, stragglers sent.
func (f *follower) before(ctx context.Context, items int) {
	if f.watch() {
		f.stop(errBegunAgain)
		<-ctx.Done()
		return
	}
	for {
		f.mtx.Lock()
		open := f.begun && f.outstanding >= items
		if !open {
			f.held = items
		} else {
			f.held = 0
		}
		progress := f.progress
		f.mtx.Unlock()
		if open {
			return
		}
		f.nudge()
		select {
		case <-ctx.Done():
			return
		case <-progress:
		}
	}
}

// after implements observer.
func (f *follower) after(ctx context.Context, o outcome) {
	t := f.t
	switch {
	case o.err == "":
		f.maybeThere = false
		f.settled(o.items(), "")
		t.succeeded()
		return
	case ctx.Err() != nil:
		return // cut off by the stop of the queue: unanswered
	case o.retried:
		f.maybeThere = f.maybeThere || mayHaveStored(o.status, o.err)
		t.failed(kindOf(o.status), o.err)
		return
	case final(o.status) && f.maybeThere && alreadyThere(o.err):
		// An earlier attempt to send this very batch was stored.
		f.maybeThere = false
		f.settled(o.items(), "")
		t.succeeded()
		return
	case final(o.status) && f.sendsAgain() && alreadyThere(o.err):
		if t.mannerOf() == storesGood {
			f.settled(o.items(), "") // the new ones among them are stored
			return
		}
		// Whether the new ones are, the drainer finds out.
		t.mtx.Lock()
		t.suspect = true
		t.mtx.Unlock()
	case final(o.status):
		f.maybeThere = false
		t.failed(kindOf(o.status), o.err)
		f.settled(o.items(), reasonOf(&refusal{status: o.status, body: o.err}))
		return
	case o.status == 413:
		t.shrink(max(1, f.e.cfg.QueueConfig.MaxSamplesPerSend/2))
	}
	t.failed(kindOf(o.status), o.err)
	f.stop(fmt.Errorf("%s", o.err))
	// Upstream would go on with the next batch, and once that one is accepted
	// this one is out of order for ever: nothing may overtake it.
	<-ctx.Done()
}
