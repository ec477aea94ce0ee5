package delivery

import (
	"context"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// # The order of what is sent
//
// What a run has sent of a batch when it ends, the next one does not know. It sends the
// batch again, and an endpoint that takes all or nothing refuses it for the samples that
// are there. As long as samples were sent in the order of the WAL, those are the first of
// the batch, and few questions tell where they end (askInOrder). So what is only too large
// for one request is cut in that order (splitOrder).
//
// To find a bad sample, though, parts and single samples are sent out of that order, and
// late samples are, beside a live queue. Then nothing follows from one sample for another
// but in its own series, whose samples always go in their order; a batch of which that may
// be so is split down to single samples where the endpoint has some of it. The ledger's
// account keeps it (Unordered), and delivery.json has it before the first such request.

// leaveOrder is called before a request with anything else than the first of what was not
// sent yet, up to a position. It returns an error when ctx ends first. An endpoint that
// stores the good samples of a request that it refuses has all of a batch that is sent
// again, in whatever order they came before.
func (t *destination) leaveOrder(ctx context.Context, to backlog.Position) error {
	t.mtx.Lock()
	stored := t.machine.partial == partialStored
	t.mtx.Unlock()
	if stored || t.account.MaySendUnordered(to) {
		return nil
	}
	return t.saveMarks(ctx)
}
