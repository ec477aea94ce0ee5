package delivery

import (
	"context"
	"time"

	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// start begins the destination's life, which ends with ctx or with leave.
func (t *destination) start(ctx context.Context) {
	ctx, t.stop = context.WithCancel(ctx)
	go t.run(ctx)
}

// clientRetry is how often it is tried to build a client whose files were missing.
const clientRetry = 3 * time.Second

// awaitClient waits until there is a client to ask the endpoint with, and reports
// whether ctx has not ended. Meanwhile the destination is behind: the mark stands, so
// all that comes is kept for it.
func (t *destination) awaitClient(ctx context.Context) bool {
	for ctx.Err() == nil {
		_, err := t.inForce().Client()
		t.noteClient(err)
		if err == nil {
			return true
		}
		t.pause(ctx, clientRetry)
	}
	return false
}

// noteClient notes why the destination has no client; nil: it has one. An episode is
// logged once.
func (t *destination) noteClient(err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	t.mtx.Lock()
	was := t.noClient
	t.noClient = why
	switch {
	case err != nil:
		t.lastErr, t.lastErrAt = why, time.Now()
	case was != "":
		t.lastErr, t.lastErrAt = "", time.Time{} // nothing has been sent so far
	}
	t.mtx.Unlock()
	switch {
	case err != nil && was == "":
		level.Error(t.logger).Log("msg", "Nothing can be sent until the files that the connection needs can be used; samples are kept on disk", "err", err)
	case err == nil && was != "":
		level.Info(t.logger).Log("msg", "The files that the connection needs can be used", "was", was)
	}
}

// run is the destination's whole life: behind, handed over, live, and behind
// again. There is no other way to become live.
func (t *destination) run(ctx context.Context) {
	defer close(t.done)
	// The last samples that were delivered before a hand-over; see suspicion.
	var delivered []remotewrite.Item
	for t.awaitClient(ctx) {
		if t.lateSent.Swap(false) {
			delivered = nil
		}
		d := newDrain(t, delivered)
		c := d.cursor
		err := d.run(ctx)
		delivered = d.delivered // and nothing else of it: a drainer has large buffers
		if err == nil {
			var f *follower
			if f, err = t.handOver(ctx, c); err == nil {
				level.Info(t.logger).Log("msg", "Live: upstream's queue ships from here on", "mark", t.account.Mark())
				err = f.follow(ctx)
				f.end()
			}
			if err != nil && ctx.Err() == nil {
				level.Warn(t.logger).Log("msg", "Behind: shipping from the backlog until the endpoint keeps up", "reason", err, "mark", t.account.Mark())
			}
		}
		c.close()
		// What was read and is not settled will be read again, from the mark.
		t.account.Forget()
	}
	t.mtx.Lock()
	left := t.left
	t.mtx.Unlock()
	t.on(event{kind: left})
}
