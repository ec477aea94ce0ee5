package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

const (
	// entryItems and entryAge bound what is written down as one entry: marks
	// are as fine as entries are.
	entryItems = 500
	entryAge   = 100 * time.Millisecond
	// checkInterval is how often the follower looks at the queue's own metrics.
	checkInterval = 2 * time.Second
)

// entry is a stretch of the WAL that the queue has been given.
type entry struct {
	left  int // items that the queue has not been answered for
	doubt map[string]int
	end   backlog.Position
	tally tally // but for what doubt holds
	at    time.Time
}

// follower reads the WAL as the watcher of a live queue does, writes down what
// the queue is expected to send, sends what the queue never will, and moves the
// mark by counting acknowledgements. See handover.go.
type follower struct {
	t *destination
	e *endpoint
	c *cursor

	stopObserving func()
	encoder       *encoder
	// T <= notSentUpTo: never sent by the queue. T > sentIfAfter: sent by it.
	notSentUpTo, sentIfAfter int64

	wake chan struct{}
	// maybeThere: an earlier attempt to send the present batch may have been
	// stored. watched is the segment that the watcher has entered last, and
	// astray that it has begun again. Used in the queue's goroutine only.
	maybeThere bool
	watched    int
	astray     bool

	mtx         sync.Mutex
	begun       bool
	expected    []entry
	outstanding int // items left in expected
	again       int // items left of those that the queue sends again
	held        int // items of the batch that waits at the door
	progress    chan struct{}
	reason      error
}

func newFollower(t *destination, c *cursor, e *endpoint) *follower {
	return &follower{
		t: t, c: c, e: e,
		encoder:  newEncoder(t.d.opts.TypeAndUnitLabels),
		watched:  -1,
		wake:     make(chan struct{}, 1),
		progress: make(chan struct{}),
	}
}

// begin opens the door: again items are sent twice, everything before from has
// been settled.
func (f *follower) begin(again int, from backlog.Position) {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	f.begun = true
	f.again = again
	f.expected = append(f.expected, entry{left: again, end: from, at: time.Now()})
	f.outstanding = again
	f.advance()
	f.announce()
}

// follow returns the reason for which the destination must go behind, or nil
// when ctx ends. After a reason nothing is read on: the mark must not pass what
// was read and neither written down as expected nor sent.
func (f *follower) follow(ctx context.Context) error {
	err := f.followOn(ctx)
	if err != nil {
		f.stop(err)
	}
	return err
}

func (f *follower) followOn(ctx context.Context) error {
	lastCheck := time.Now()
	lastSegment := -1
	for ctx.Err() == nil {
		changed := f.t.d.store.Changed()
		f.mtx.Lock()
		held := f.held
		f.mtx.Unlock()
		if err := f.readOn(ctx); err != nil {
			return err
		}
		if err := f.trouble(held); err != nil {
			return err
		}
		if time.Since(lastCheck) >= checkInterval {
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
			f.rest(ctx, changed)
		}
	}
	return nil
}

func (f *follower) rest(ctx context.Context, changed <-chan struct{}) {
	timer := time.NewTimer(pollInterval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-f.wake:
	case <-timer.C:
	}
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
	for ctx.Err() == nil {
		rec, err := f.t.next(f.c)
		if errors.Is(err, io.EOF) {
			if f.c.worn() {
				f.reopen()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read the WAL: %w", err)
		}
		switch {
		case rec.Kind == backlog.Damaged && rec.Context:
			continue
		case rec.Kind != backlog.Data:
			return fmt.Errorf("the WAL cannot be read at %s: %w", rec.Pos, errors.Join(rec.Err, errUnreadable))
		}
		if err := f.c.sieve.read(rec); err != nil {
			return err
		}
		if rec.Context {
			continue
		}
		if err := f.expect(ctx, rec); err != nil {
			return err
		}
		if err := f.stopped(); err != nil {
			return err
		}
	}
	return nil
}

var errBegunAgain = errors.New("upstream's WAL watcher has begun again after an error")

var errUnreadable = errors.New("damaged or missing")

// reopen forgets the series that are gone.
func (f *follower) reopen() {
	f.c.opened = f.c.reader.Position()
	f.c.close()
	f.c.reader = f.t.d.store.NewReader(f.c.opened)
	f.c.sieve.forget()
}

// expect writes down what the queue sends of one record, and sends the rest.
func (f *follower) expect(ctx context.Context, rec *backlog.Record) error {
	s := f.c.sieve
	var (
		mine []item
		n    int
	)
	for _, it := range s.items {
		if it.kind == exemplarItem || it.t > f.notSentUpTo {
			n++
		}
		if it.kind != exemplarItem && it.t <= f.sentIfAfter {
			mine = append(mine, it)
		}
	}
	e := entry{left: n, end: rec.End, at: time.Now()}
	e.tally.filtered = s.filtered
	e.tally.unknown = s.unknown
	e.tally.delivered = samplesOf(s.items)
	f.t.hold(rec.End, s.samples())
	if len(mine) > 0 {
		if err := f.sendStragglers(ctx, mine, &e); err != nil {
			return err
		}
	}
	f.mtx.Lock()
	defer f.mtx.Unlock()
	if last := len(f.expected) - 1; last >= 0 && f.expected[last].left+n <= entryItems && e.at.Sub(f.expected[last].at) < entryAge && f.expected[last].doubt == nil {
		f.expected[last].left += n
		f.expected[last].end = e.end
		f.expected[last].tally.merge(e.tally)
	} else {
		f.expected = append(f.expected, e)
	}
	f.outstanding += n
	f.advance()
	f.announce()
	return nil
}

// sendStragglers delivers the samples that the queue never sends.
func (f *follower) sendStragglers(ctx context.Context, items []item, e *entry) error {
	for len(items) > 0 {
		n := min(len(items), f.e.cfg.QueueConfig.MaxSamplesPerSend)
		if err := f.sendStraggler(ctx, items[:n], e); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

func (f *follower) sendStraggler(ctx context.Context, items []item, e *entry) error {
	body, err := f.encoder.encode(f.c.sieve, items)
	if err != nil {
		return err
	}
	calm, cancel := graceful(ctx)
	defer cancel()
	err = f.t.endpoint().post(calm, body, 0)
	if err == nil {
		return nil
	}
	var r *refusal
	if errors.As(err, &r) && final(r.status) {
		f.t.failed(kindOf(r.status), r.Error())
		n := samplesOf(items)
		e.tally.delivered -= n
		if len(items) == 1 {
			e.tally.refuse(reasonOf(r), n)
		} else {
			e.tally.doubt(reasonOf(r), n)
		}
		return nil
	}
	if ctx.Err() == nil {
		status := 0
		if r != nil {
			status = r.status
		}
		f.t.failed(kindOf(status), err.Error())
	}
	return err
}

// settled counts n answered items: acknowledged, or given up for a reason.
func (f *follower) settled(n int, givenUp string) {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	for i := 0; n > 0 && i < len(f.expected); i++ {
		e := &f.expected[i]
		m := min(n, e.left)
		e.left -= m
		n -= m
		f.outstanding -= m
		f.again = max(0, f.again-m)
		if givenUp != "" && m > 0 {
			if e.doubt == nil {
				e.doubt = map[string]int{}
			}
			e.doubt[givenUp] += m
		}
	}
	f.advance()
}

// advance moves the mark behind the entries that are settled.
func (f *follower) advance() {
	done := 0
	for done < len(f.expected) && f.expected[done].left == 0 {
		e := &f.expected[done]
		for reason, n := range e.doubt {
			// Exemplars are items, but not samples: never doubt more than there are.
			m := min(uint64(n), e.tally.delivered)
			e.tally.delivered -= m
			e.tally.doubt(reason, m)
		}
		f.t.settle(e.end, e.tally)
		done++
	}
	f.expected = append(f.expected[:0], f.expected[done:]...)
}

// sendsAgain tells whether the batch that is being sent holds samples that had
// been sent before the hand-over.
func (f *follower) sendsAgain() bool {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	return f.again > 0
}

func (f *follower) announce() {
	close(f.progress)
	f.progress = make(chan struct{})
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

// trouble looks for reasons to go behind. held is the size of the batch that
// waited at the door before the WAL was read to its end.
func (f *follower) trouble(held int) error {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	switch {
	case f.reason != nil:
		return f.reason
	case held > f.outstanding && f.held == held:
		return fmt.Errorf("upstream's queue sends %d items where %d were expected", held, f.outstanding)
	case len(f.expected) > 0 && time.Since(f.expected[0].at) > f.t.d.opts.MaxLiveLag+time.Duration(f.e.cfg.QueueConfig.BatchSendDeadline):
		return fmt.Errorf("nothing has been acknowledged for %s", f.t.d.opts.MaxLiveLag)
	}
	return nil
}

// watch finds out whether the watcher has begun again after an error. It begins
// at now then, and what it skipped would be taken for acknowledged with the
// first batch of what comes after.
func (f *follower) watch() bool {
	segment, anew := f.t.d.queues.entered(f.e.name)
	f.astray = f.astray || anew && segment <= f.watched
	f.watched = max(f.watched, segment)
	return f.astray
}

// check looks at the queue's own metrics.
func (f *follower) check(last int) (int, error) {
	q := f.t.d.queues
	_, segment := q.watcher(f.e.name)
	if segment < 0 {
		return segment, errors.New("upstream's queue is gone")
	}
	if segment < last {
		return segment, errBegunAgain
	}
	if n := q.unknownDropped(f.e.name); n > 0 {
		return segment, fmt.Errorf("upstream's queue did not know the series of %.0f samples", n)
	}
	// Upstream's truncation keeps at least the last two segments; a watcher
	// further back could find its next one gone.
	if end := f.t.d.store.End(); segment < end.Segment-1 {
		return segment, fmt.Errorf("upstream's queue is %d segments behind the WAL", end.Segment-segment)
	}
	return segment, nil
}
