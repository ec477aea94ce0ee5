package delivery

import (
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// TimeWentBack tells, before the first Apply, that the clock lies before a time
// that it had in an earlier run. What it dates until then, an endpoint may refuse
// for newer samples that it got before; so that nothing follows from such an
// answer, neither that the refused samples are there nor what the endpoint does
// with the others of a request.
func (d *Delivery) TimeWentBack(from time.Time) { d.overtaken = from.UnixMilli() }

// SawTime tells that the clock had this time, before it was set back.
func (d *Delivery) SawTime(t time.Time) {
	d.marks.mtx.Lock()
	defer d.marks.mtx.Unlock()
	d.marks.latest = max(d.marks.latest, t.UnixMilli())
}

// ForgetLatest tells that the latest time the clock has had is not to be waited
// for any more: it may itself have been wrong.
func (d *Delivery) ForgetLatest() {
	d.marks.mtx.Lock()
	defer d.marks.mtx.Unlock()
	d.marks.latest = 0
}

// anyOvertaken reports whether some of the items may be older than what the
// endpoint got before the clock was set back.
func anyOvertaken(items []remotewrite.Item, overtaken int64) bool {
	for _, it := range items {
		if overtaken > 0 && it.T <= overtaken && it.Kind != remotewrite.Exemplar {
			return true
		}
	}
	return false
}
