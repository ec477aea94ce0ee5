package delivery

import "github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"

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
