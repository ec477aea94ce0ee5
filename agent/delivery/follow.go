package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/go-kit/log/level"
	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
	"github.com/opstrace/opstrace-agent/agent/delivery/selection"
	"github.com/opstrace/opstrace-agent/agent/delivery/upstreamqueue"
	"github.com/opstrace/opstrace-agent/agent/pulse"
)

// checkInterval is how often the follower looks at the queue's own metrics.
const checkInterval = 2 * time.Second

// follower reads the WAL as the watcher of a live queue does, writes down what
// the queue is expected to send, sends what the queue never will, and settles
// what is acknowledged. See handover.go.
type follower struct {
	t    *destination
	e    *remotewrite.Endpoint
	c    *cursor
	from backlog.Position // where the hand-over was

	// outline is what the follower reads; the labels that late samples need are fetched.
	outline *selection.Outline
	late    *late
	queue   *upstreamqueue.Queue
	// T <= notSentUpTo: never sent by the queue. T > sentIfAfter: sent by it.
	notSentUpTo, sentIfAfter int64

	wake chan struct{}
	// maybeThere: an earlier attempt to send the present batch may have been
	// stored. Used in the queue's goroutine only.
	maybeThere bool
	// sends is what the queue has of the entry, made of settings. Used by who starts
	// the queue, and then in its goroutine only.
	sends    *config.RemoteWriteConfig
	settings *config_util.HTTPClientConfig

	// mtx guards what follows; the ledger's lock is taken under it, and no other.
	mtx      sync.Mutex
	begun    bool
	expected expected
	held     int              // items of the batch that is held
	holds    int              // how many batches have been held
	readFor  int              // what was there when the first so many were held has been read
	maySent  backlog.Position // the end of what may have been stored without an answer
	progress chan struct{}    // closed when held batches should look again
	reason   error            // for which the destination goes behind
}

func newFollower(t *destination, c *cursor, e *remotewrite.Endpoint, from backlog.Position) *follower {
	return &follower{
		t: t, c: c, e: e, from: from,
		outline:  c.selection.Outline(),
		late:     newLate(t, e),
		wake:     make(chan struct{}, 1),
		progress: make(chan struct{}),
	}
}

func (f *follower) adopt(q *upstreamqueue.Queue) {
	f.queue = q
	f.notSentUpTo, f.sentIfAfter = q.StartBounds()
}

// begin lets batches go: again items are sent twice, everything before the
// hand-over has been settled.
func (f *follower) begin(again overlap) {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	f.begun = true
	f.expected.begin(again, f.from)
	f.advance()
	f.announce()
}

// follow returns the reason for which the destination has gone behind, or nil
// when ctx ends. After a reason nothing is read on: the mark must not pass what
// was read and neither written down as expected nor sent.
func (f *follower) follow(ctx context.Context) error {
	lastCheck := time.Now()
	lastSegment := -1
	for ctx.Err() == nil {
		changed := f.t.store.Changed()
		f.mtx.Lock()
		held, holds := f.held, f.holds
		f.mtx.Unlock()
		if err := f.readOn(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err := f.trouble(held, holds); err != nil {
			return err
		}
		if time.Since(lastCheck) >= checkInterval-pulse.Slack {
			lastCheck = time.Now()
			segment, err := f.check(lastSegment)
			if err != nil {
				return err
			}
			lastSegment = segment
		}
		select {
		case <-f.wake:
		default:
			// What is to be read, sent, settled or told wakes the loop.
			wait(ctx, changed, f.wake, min(pulse.Next(checkInterval), f.patient()))
		}
	}
	return nil
}

// patience is how long an item may wait for its answer.
func (f *follower) patience() time.Duration {
	return f.t.maxLiveLag + time.Duration(f.e.Config.QueueConfig.BatchSendDeadline)
}

// patient is how long what waits now may go on waiting.
func (f *follower) patient() time.Duration {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	return f.patience() - f.expected.age() + time.Millisecond
}

// nudge wakes the follower up.
func (f *follower) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// readOn reads to the WAL's end.
func (f *follower) readOn(ctx context.Context) error {
	f.mtx.Lock()
	holds := f.holds
	f.mtx.Unlock()
	for ctx.Err() == nil {
		f.t.breathe()
		rec, err := f.c.reader.Next()
		if errors.Is(err, io.EOF) {
			f.atEnd(holds)
			return nil
		}
		if err != nil {
			return f.leave(unreadable, err)
		}
		switch {
		case rec.Kind == backlog.Damaged && rec.Context:
			continue
		case rec.Kind != backlog.Data:
			return f.leave(unreadable, fmt.Errorf("at %s: %w", rec.Pos, rec.Err))
		}
		if err := f.take(ctx, rec); err != nil {
			return err
		}
		if err := f.stopped(); err != nil {
			return err
		}
	}
	return nil
}

// atEnd is reached when the follower has read all that was there when so many batches
// had been held.
func (f *follower) atEnd(holds int) {
	if f.c.worn() {
		f.reopen(f.c.reader.Position())
	}
	f.late.rest(time.Now())
	f.mtx.Lock()
	settled := f.begun && f.expected.empty()
	if holds > f.readFor {
		f.readFor = holds
		f.announce()
	}
	f.mtx.Unlock()
	if settled {
		f.t.reconcile(f.c.reader.Position())
	}
}

// take takes in one record that is data. One with late samples is read again, after the
// series before it, if nobody has kept labels for them.
func (f *follower) take(ctx context.Context, rec *backlog.Record) error {
	if err := f.outline.Read(rec); err != nil {
		return f.leave(unreadable, err)
	}
	s := shareOut(f.outline, f.notSentUpTo, f.sentIfAfter)
	if rec.Context {
		s = share{}
	}
	if s.late > 0 && !f.late.prepared() {
		level.Debug(f.t.logger).Log("msg", "Reads the series again, for samples that the queue does not send", "at", rec.Pos)
		f.late.prepare()
		f.reopen(rec.Pos)
		return nil
	}
	late, err := f.late.of(rec, s.late, f.sentIfAfter)
	if err != nil {
		return f.leave(unreadable, err)
	}
	if rec.Context {
		return nil
	}
	return f.expect(ctx, rec, s, late)
}

// reopen begins anew at a position.
func (f *follower) reopen(at backlog.Position) {
	f.c.reopen(f.t.store, at)
	f.outline.Forget()
	f.late.reopened()
}

// expect writes down what the queue sends of one record, and sends the rest.
func (f *follower) expect(ctx context.Context, rec *backlog.Record, s share, late []remotewrite.Item) error {
	o := f.outline
	if !f.t.account.Hold(rec.Pos, rec.End, o.Samples(), scrapedAt(o.Newest(), time.Now())) {
		return f.leave(unreadable, fmt.Errorf("%s was evicted before it was read", rec.End))
	}
	e := entry{left: s.queued, again: s.both, unsure: s.both, end: rec.End, at: time.Now()}
	e.outcome.Delivered = uint64(len(o.Times))
	e.outcome.Doubt(seriesLost, o.Unknown)
	for reason, filtered := range o.Filtered() {
		e.outcome.Filter(reason, filtered)
	}
	if len(late) > 0 {
		f.t.account.MaySent(rec.End)
		f.mtx.Lock()
		ahead := s.queued > 0 || !f.expected.empty()
		f.mtx.Unlock()
		if ahead { // of what the queue sends
			if err := f.t.sendLate(ctx, f.sentIfAfter, rec.End, false); err != nil {
				return err
			}
		}
	}
	if err := f.late.send(ctx, late, &e.outcome, func() error { return f.goOnLate(ctx, rec.End) }); err != nil {
		return f.refused(ctx, err)
	}
	f.mtx.Lock()
	defer f.mtx.Unlock()
	f.expected.add(e)
	f.advance()
	f.announce()
	return nil
}

// goOnLate is called when late samples were refused for good, up to a position, before others
// are sent.
func (f *follower) goOnLate(ctx context.Context, to backlog.Position) error {
	if err := f.t.wasRefused(ctx, to); err != nil {
		return err
	}
	return f.t.sendLate(ctx, f.sentIfAfter, to, true)
}

// refused is called with what kept a late sample from being delivered.
func (f *follower) refused(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	var r *remotewrite.Refusal
	if !errors.As(err, &r) {
		return f.leave(unreadable, err) // it cannot even be encoded
	}
	d := f.t.on(event{kind: refused, class: r.Class()})
	if d.do == shrink {
		f.t.shrink(f.e.BatchSize())
	}
	f.stop(fmt.Errorf("%s: %w", d.why, err))
	return f.stopped()
}

// answered counts n items that the queue has an answer for: acknowledged, or
// given up for a reason.
func (f *follower) answered(n int, givenUp string) {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	f.expected.answered(n, givenUp)
	f.advance()
	if f.expected.empty() && f.t.account.Unread() != 0 {
		f.nudge() // to reconcile
	}
}

// advance settles the entries that are answered in full.
func (f *follower) advance() {
	for _, e := range f.expected.done() {
		f.t.settle(e.end, e.outcome)
	}
}

func (f *follower) announce() {
	close(f.progress)
	f.progress = make(chan struct{})
}

// leave asks the machine about what has happened, and remembers the reason.
func (f *follower) leave(kind eventKind, detail error) error {
	d := f.t.on(event{kind: kind})
	if reason := f.stopped(); reason != nil {
		return reason // behind already, for what came first
	}
	f.stop(fmt.Errorf("%s: %w", d.why, detail))
	return f.stopped()
}

func (f *follower) stop(reason error) {
	f.mtx.Lock()
	if f.reason == nil {
		f.reason = reason
	}
	f.mtx.Unlock()
	f.nudge()
}

func (f *follower) stopped() error {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	return f.reason
}

// trouble looks for reasons to go behind. held is the size of the batch that was
// held before the WAL was read to its end, the last of so many.
func (f *follower) trouble(held, holds int) error {
	f.mtx.Lock()
	outstanding, waiting := f.expected.outstanding, f.expected.age()
	still := f.held == held && f.holds == holds
	reason := f.reason
	f.mtx.Unlock()
	switch {
	case reason != nil:
		return reason
	case held > outstanding && still:
		return f.leave(sequenceDiffers, fmt.Errorf("it sends %d items where %d were expected", held, outstanding))
	case waiting > f.patience():
		return f.leave(lagging, fmt.Errorf("nothing has been acknowledged for %s", f.t.maxLiveLag))
	}
	return nil
}

// check looks at the queue's own metrics.
func (f *follower) check(last int) (int, error) {
	segment := f.queue.Segment()
	switch {
	case segment < 0:
		return segment, f.leave(queueGone, errors.New("its watcher is not there"))
	case segment < last:
		return segment, f.leave(watcherBegunAgain, fmt.Errorf("in segment %d after %d", segment, last))
	}
	if n := f.queue.UnknownSeries(); n > 0 {
		return segment, f.leave(sequenceDiffers, fmt.Errorf("it did not know the series of %.0f samples", n))
	}
	if f.t.outgrown(f.e.BatchSize()) {
		return segment, f.leave(outgrown, fmt.Errorf("%d samples in each so far", f.e.BatchSize()))
	}
	// Upstream's truncation keeps at least the last two segments; a watcher
	// further back could find its next one gone.
	if end := f.t.store.End(); segment < end.Segment-1 {
		return segment, f.leave(lagging, fmt.Errorf("its queue is %d segments behind the WAL", end.Segment-segment))
	}
	return segment, nil
}

// end stops the queue. After it returns, the queue sends nothing any more, and
// what was acknowledged in the meantime is settled. Unless there was trouble,
// batches are let go meanwhile: what the queue flushes need not be sent again.
func (f *follower) end() {
	t := f.t
	stopped := make(chan error, 1)
	go func() { stopped <- f.queue.Stop() }()
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
		level.Error(t.logger).Log("msg", "Cannot stop upstream's queue", "err", err)
	}
	f.mtx.Lock()
	defer f.mtx.Unlock()
	t.account.MaySent(f.maySent)
	t.account.MaySent(f.expected.reach(0))
}
