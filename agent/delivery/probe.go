package delivery

import (
	"context"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// probeItems is about how many items a request has that is to find out whether the
// endpoint is back: no more than many an agent sends while live.
const probeItems = 100

// probes reports whether a part that has failed so often is too much to ask with. All
// agents behind an endpoint that is ill ask it every max_backoff; with what each could
// send at once, they would keep it so.
func (d *sender) probes(attempt, items int) bool {
	e := d.inForce()
	return attempt > 0 && items > 2*probeItems && remotewrite.Grown(attempt-1, e.MinBackoff, e.MaxBackoff)
}

// probe sends the first items of a part until they are answered, and then the others.
func (d *sender) probe(ctx context.Context, p part, attempt int, s *search, o *ledger.Outcome) error {
	at := probeEnd(p.items)
	if err := d.deliver(ctx, part{items: p.items[:at], before: p.before, last: p.last, failed: attempt}, s, o); err != nil {
		return err
	}
	return d.deliver(ctx, part{items: p.items[at:], before: p.before, last: p.last}, s, o)
}

// probeEnd returns where to cut grouped items for a probe: between two series, where
// there are such near enough, since exemplars go with the samples of theirs.
func probeEnd(items []remotewrite.Item) int {
	for i := probeItems; i < len(items) && i <= 2*probeItems; i++ {
		if items[i].Series != items[i-1].Series {
			return i
		}
	}
	return min(probeItems, len(items))
}
