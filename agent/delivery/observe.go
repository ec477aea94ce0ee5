package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
	"github.com/opstrace/opstrace-agent/agent/delivery/upstreamqueue"
)

// entry is called in the queue's goroutine before each request, and returns the entry
// with what its files say now, and a token: the same as before as long as these are. A
// queue goes on with the size of requests that it was started with.
func (f *follower) entry(ctx context.Context) (*config.RemoteWriteConfig, error) {
	e := f.t.inForce()
	settings, err := e.Plain(ctx)
	if err != nil {
		return nil, err
	}
	if settings != f.settings {
		own := *e.WithBatchSize(f.e.BatchSize()).Config
		own.HTTPClientConfig = *settings
		f.sends, f.settings = &own, settings
	}
	return f.sends, nil
}

// before is called in the queue's goroutine before each request: it holds a batch
// until the follower has read as far as the batch reaches, late samples sent.
func (f *follower) before(ctx context.Context, items int) {
	f.mtx.Lock()
	f.holds++
	hold := f.holds
	f.mtx.Unlock()
	for {
		f.mtx.Lock()
		open := f.begun && f.expected.covers(items, f.readFor >= hold)
		if !open {
			f.held = items
		} else {
			f.held = 0
			f.maySent = f.expected.reach(items)
		}
		progress := f.progress
		f.mtx.Unlock()
		if open {
			break
		}
		f.nudge()
		select {
		case <-ctx.Done():
			return
		case <-progress:
		}
	}
	// A watcher that failed begins again at now, and what it skipped would be
	// taken for acknowledged with the first batch of what comes after.
	if f.queue.BegunAgain() {
		_ = f.leave(watcherBegunAgain, errors.New("before this batch"))
		<-ctx.Done()
	}
}

// after is called in the queue's goroutine after each attempt. By not returning
// it holds the queue: upstream would go on with the next batch.
func (f *follower) after(ctx context.Context, o upstreamqueue.Outcome) {
	t := f.t
	if o.Err == "" {
		f.maybeThere = false
		f.answered(o.Items(), "")
		t.succeeded()
		t.fits(o.Items())
		t.on(event{kind: acknowledged})
		return
	}
	if ctx.Err() != nil {
		return // cut off by the stop of the queue: unanswered
	}
	if o.Unsent && !o.Retried {
		_ = f.leave(entryChanged, errors.New(o.Err))
		<-ctx.Done()
		return
	}
	r := f.e.RefusalInWords(o.Status, o.Err)
	mayHaveStored := !o.Unsent && remotewrite.MayHaveStored(o.Status, o.Err)
	again, onlyAgain := f.sendsAgain(o.Items())
	e := event{
		kind: refused, class: r.Class(), retried: o.Retried,
		there: remotewrite.AlreadyThere(o.Err), series: remotewrite.AboutSeries(r.Body), before: f.maybeThere, again: again > 0, onlyAgain: onlyAgain,
		overtaken: t.overtaken.Load().Has(f.from.Generation, f.heldSince().Add(-t.maxLiveLag).UnixMilli()),
	}
	if f.stopped() != nil {
		// Behind already: nothing may overtake this batch, nor be concluded from it.
		t.failed(remotewrite.Kind(o.Status), r.Error())
		<-ctx.Done()
		return
	}
	d := t.on(e)
	switch d.do {
	case settle:
		f.maybeThere = false
		f.answered(o.Items(), "")
		t.succeeded()
		return
	case doubt:
		f.maybeThere = false
		t.failed(remotewrite.Kind(o.Status), r.Error())
		f.mtx.Lock()
		to := f.expected.reach(o.Items())
		f.mtx.Unlock()
		if err := t.wasRefused(ctx, to); err != nil {
			return // cut off, as above
		}
		f.answered(o.Items(), remotewrite.Reason(o.Status, o.Err))
		return
	case shrink:
		t.shrink(o.Items())
	case suspect:
		f.suspect(o.Items() - again)
	}
	if e.series && d.left {
		t.refusedSeries()
	}
	t.failed(remotewrite.Kind(o.Status), r.Error())
	// A request that is refused for its samples may have been stored in part.
	if !f.maybeThere && e.class != remotewrite.Final && !mayHaveStored {
		f.mtx.Lock()
		f.maySent = backlog.Position{}
		f.mtx.Unlock()
	}
	// Only what upstream tries again may go on. The follower may have gone behind
	// a moment ago: then this batch must not be overtaken either.
	if !d.left && o.Retried {
		f.maybeThere = f.maybeThere || mayHaveStored
		return // upstream tries the same batch again
	}
	f.stop(fmt.Errorf("%s: %w", d.why, r))
	<-ctx.Done()
}

// refusedSeries notes that a batch was refused for what a series is: even if the
// drainer finds none, the destination must not go to and fro.
func (t *destination) refusedSeries() {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.seriesRefused = time.Now()
}

// sendsAgain returns how many of the next items of the queue had been delivered
// before, at the most, and whether all had, for sure.
func (f *follower) sendsAgain(items int) (again int, only bool) {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	return f.expected.againIn(items)
}

// heldSince returns when the oldest item was read that the queue has not been answered for,
// by the clock of that time.
func (f *follower) heldSince() time.Time {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	return f.expected.since(time.Now())
}

// suspect notes what is left open by the refusal of a batch with so many new items.
func (f *follower) suspect(fresh int) {
	f.t.mtx.Lock()
	defer f.t.mtx.Unlock()
	f.t.doubtful = &suspicion{at: f.from, items: fresh, after: f.sentIfAfter}
}
