package delivery

import (
	"context"

	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// start begins the destination's life, which ends with ctx or with leave.
func (t *destination) start(ctx context.Context) {
	ctx, t.stop = context.WithCancel(ctx)
	go t.run(ctx)
}

// run is the destination's whole life: behind, handed over, live, and behind
// again. There is no other way to become live.
func (t *destination) run(ctx context.Context) {
	defer close(t.done)
	// The last samples that were delivered before a hand-over; see suspicion.
	var delivered []remotewrite.Item
	for ctx.Err() == nil {
		if t.lateSent.Swap(false) {
			delivered = nil
		}
		d := newDrain(t, delivered)
		err := d.run(ctx)
		delivered = d.delivered
		if err == nil {
			var f *follower
			if f, err = t.handOver(ctx, d.cursor); err == nil {
				level.Info(t.logger).Log("msg", "Live: upstream's queue ships from here on", "mark", t.account.Mark())
				err = f.follow(ctx)
				f.end()
			}
			if err != nil && ctx.Err() == nil {
				level.Warn(t.logger).Log("msg", "Behind: shipping from the backlog until the endpoint keeps up", "reason", err, "mark", t.account.Mark())
			}
		}
		d.cursor.close()
		// What was read and is not settled will be read again, from the mark.
		t.account.Forget()
	}
	t.mtx.Lock()
	left := t.left
	t.mtx.Unlock()
	t.on(event{kind: left})
}
