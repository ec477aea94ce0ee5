package delivery

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

const (
	// pollInterval is how often a destination looks around when nothing is
	// committed: at its deadlines, and whether it may be handed over.
	pollInterval = 250 * time.Millisecond
	// cursorSegments is after how many segments a cursor is opened anew.
	cursorSegments = 16
	// shortestBackoff keeps a configuration of zero from asking without a pause.
	shortestBackoff = 10 * time.Millisecond
)

// drain ships the backlog of a destination that is behind: one ordered stream,
// one request in flight, oldest first.
type drain struct {
	*destination

	cursor  *cursor
	patient bool // stay behind for the minimum time

	encoder  *encoder
	batch    batch
	maxItems int
}

// run returns nil when everything on disk has been acknowledged or given up and
// the destination may be handed over, and an error when ctx ends.
func (d *drain) run(ctx context.Context) error {
	d.encoder = newEncoder(d.d.opts.TypeAndUnitLabels)
	d.maxItems = d.endpoint().cfg.QueueConfig.MaxSamplesPerSend
	for {
		if err := ctx.Err(); err != nil {
			d.flushAtStop()
			return err
		}
		rec, err := d.next(d.cursor)
		switch {
		case errors.Is(err, io.EOF):
			handOver, err := d.atEnd(ctx)
			if err != nil || handOver {
				return err
			}
			continue
		case err != nil:
			level.Error(d.logger).Log("msg", "cannot read the backlog, trying again", "err", err)
			if !sleep(ctx, time.Second) {
				return ctx.Err()
			}
			continue
		}
		if err := d.take(ctx, rec); err != nil {
			return err
		}
		// Only when all that was read is settled: the mark is where it goes on.
		if d.cursor.worn() && d.batch.end.IsZero() {
			d.reopen()
		}
	}
}

func (d *drain) reopen() {
	d.cursor.close()
	*d.cursor = *d.openCursor()
}

// atEnd is reached when everything on disk has been read.
func (d *drain) atEnd(ctx context.Context) (handOver bool, err error) {
	changed := d.d.store.Changed()
	d.mtx.Lock()
	mayLeave := !d.patient || time.Since(d.since) >= d.d.opts.MinStay
	d.mtx.Unlock()
	full := !d.batch.begun.IsZero() && time.Since(d.batch.begun) >= time.Duration(d.endpoint().cfg.QueueConfig.BatchSendDeadline)
	if mayLeave || full {
		if err := d.flush(ctx); err != nil {
			return false, err
		}
	}
	if mayLeave {
		return true, nil
	}
	wait(ctx, changed, pollInterval)
	return false, nil
}

// take adds one record to the batch and sends the batch when it is full, or
// when what follows must not be in one request with it.
func (d *drain) take(ctx context.Context, rec *backlog.Record) error {
	s := d.cursor.sieve
	if rec.Kind != backlog.Data {
		return d.takeGap(ctx, rec)
	}
	if err := s.read(rec); err != nil {
		level.Error(d.logger).Log("msg", "a record of the WAL was lost", "err", err)
		if !rec.Context {
			d.batch.tally.damagedBytes += uint64(len(rec.Data))
			d.batch.tally.lostStretches++
			d.batch.end = rec.End
		}
		return nil
	}
	if rec.Context {
		return nil
	}
	if resent := d.sentBefore(rec); resent != d.batch.resent {
		if err := d.flush(ctx); err != nil {
			return err
		}
		d.batch.resent = resent
	}
	if len(d.batch.items) > 0 && len(d.batch.items)+len(s.items) > d.maxItems {
		if err := d.flush(ctx); err != nil {
			return err
		}
		d.batch.resent = d.sentBefore(rec)
	}
	b := &d.batch
	if b.begun.IsZero() {
		b.begun = time.Now()
	}
	d.hold(rec.End, s.samples())
	b.items = append(b.items, s.items...)
	b.end = rec.End
	b.tally.unknown += s.unknown
	for i, n := range s.filtered {
		b.tally.filtered[i] += n
	}
	// With nothing to send, the mark moves at once: it may be long until there is.
	if n := len(b.items); n == 0 || n >= d.maxItems {
		return d.flush(ctx)
	}
	return nil
}

// takeGap handles what is not data. The batch must go first: its items refer to
// series that are about to be forgotten.
func (d *drain) takeGap(ctx context.Context, rec *backlog.Record) error {
	switch rec.Kind {
	case backlog.Generation:
		if err := d.flush(ctx); err != nil {
			return err
		}
		d.cursor.sieve.forget()
		d.cursor.opened = rec.End
		return nil
	case backlog.Missing:
		d.mtx.Lock()
		known := rec.End.Compare(d.evicted) <= 0
		d.mtx.Unlock()
		if known {
			return nil
		}
	}
	var lost uint64
	if rec.Lost > 0 {
		lost = uint64(rec.Lost)
	}
	level.Error(d.logger).Log("msg", "a part of the backlog cannot be read; going on behind it", "from", rec.Pos, "to", rec.End, "bytes", rec.Lost, "err", rec.Err)
	if rec.Context {
		return nil
	}
	d.batch.tally.damagedBytes += lost
	d.batch.tally.lostStretches++
	d.batch.end = rec.End
	return d.flush(ctx)
}

// sentBefore tells whether a record may have been sent before without an answer.
func (d *drain) sentBefore(rec *backlog.Record) bool {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	if rec.Pos.Compare(d.sent) >= 0 {
		return false
	}
	items := d.cursor.sieve.items
	return d.sentUntil == 0 || len(items) == 0 || items[0].t <= d.sentUntil
}

// flush sends the batch and moves the mark behind it. It returns only when
// every item has been acknowledged or given up, or with an error when ctx ends.
func (d *drain) flush(ctx context.Context) error {
	b := &d.batch
	if b.end.IsZero() {
		return nil
	}
	calm, cancel := graceful(ctx)
	defer cancel()
	items := d.dropOld(b)
	for len(items) > 0 {
		n := min(len(items), d.maxItems)
		sent, err := d.deliver(calm, items[:n], b)
		if err != nil {
			return err
		}
		items = items[sent:]
	}
	d.settle(b.end, b.tally)
	d.batch = batch{items: b.items[:0]}
	return nil
}

// flushAtStop gives what has been read one chance: with a healthy endpoint
// nothing is then sent twice.
func (d *drain) flushAtStop() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	d.mtx.Lock()
	healthy := d.episode == ""
	d.mtx.Unlock()
	if healthy {
		_ = d.flush(ended) // else the mark stays, and the batch is sent again
	}
}

func (d *drain) dropOld(b *batch) []item {
	limit := d.endpoint().ageLimit
	if limit == 0 {
		return b.items
	}
	oldest := time.Now().Add(-limit).UnixMilli()
	kept := b.items[:0]
	for _, it := range b.items {
		if it.t < oldest {
			if it.kind != exemplarItem {
				b.tally.filtered[byAge]++
			}
			continue
		}
		kept = append(kept, it)
	}
	return kept
}

// deliver sends items in one request, again and again, until the endpoint
// acknowledges or refuses them for good, and counts in b what became of them.
// It returns how many of them are done with: all, or none when the endpoint
// wants smaller requests.
func (d *drain) deliver(ctx context.Context, items []item, b *batch) (int, error) {
	maybeThere := b.resent
	for attempt := 0; ; attempt++ {
		if wait := d.d.throttle(len(items)); wait > 0 && !d.pause(ctx, wait) {
			return 0, ctx.Err()
		}
		err := d.send(ctx, items, attempt)
		if err == nil {
			d.succeeded()
			d.learnFromResend(b, false)
			b.tally.delivered += samplesOf(items)
			return len(items), nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		var r *refusal
		if !errors.As(err, &r) {
			// It cannot even be encoded: sending it again cannot help.
			d.failed("encode", err.Error())
			b.tally.refuse("encoding", samplesOf(items))
			return len(items), nil
		}
		d.failed(kindOf(r.status), r.Error())
		switch {
		case r.status == 413 && len(items) > 1:
			d.maxItems = max(1, len(items)/2)
			d.shrink(d.maxItems)
			return 0, nil
		case r.status == 413:
			b.tally.refuse("too_large", samplesOf(items))
			return len(items), nil
		case final(r.status):
			return len(items), d.refused(ctx, items, b, r, maybeThere)
		}
		maybeThere = maybeThere || mayHaveStored(r.status, r.Error())
		if !d.pause(ctx, d.backoff(attempt, r.retryAfter)) {
			return 0, ctx.Err()
		}
	}
}

// send makes one request.
func (d *drain) send(ctx context.Context, items []item, attempt int) error {
	body, err := d.encoder.encode(d.cursor.sieve, items)
	if err != nil {
		return err
	}
	d.mtx.Lock()
	d.beat = time.Now()
	d.mtx.Unlock()
	return d.endpoint().post(ctx, body, attempt)
}

// backoff doubles from the queue's min_backoff to six times its max_backoff,
// with jitter: the many agents behind an endpoint must not come back at once.
// An endpoint that says when to come again is not asked before.
func (d *drain) backoff(attempt int, wanted time.Duration) time.Duration {
	q := d.endpoint().cfg.QueueConfig
	wait := max(shortestBackoff, 6*time.Duration(q.MaxBackoff))
	for begin := max(shortestBackoff, time.Duration(q.MinBackoff)); attempt >= 0 && begin < wait; attempt-- {
		if attempt == 0 {
			wait = begin
		}
		begin *= 2
	}
	wait = wait/2 + rand.N(wait)
	if wanted > 0 {
		wait = max(wait, wanted+rand.N(wanted/2+1))
	}
	return wait
}

// graceful returns a context that ends a moment after ctx: what is in flight
// when the agent stops may be answered, and need not be sent again.
func graceful(ctx context.Context) (context.Context, context.CancelFunc) {
	g, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(stopGrace, cancel)
		context.AfterFunc(g, func() { t.Stop() })
	})
	return g, func() { stop(); cancel() }
}

// sleep returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// wait returns when changed is closed, at the latest after d.
func wait(ctx context.Context, changed <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-t.C:
	}
}
