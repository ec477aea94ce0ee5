package delivery

import (
	"slices"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// remembered is how many series a drainer remembers the last sample of.
const remembered = 16

// remember notes the last sample of some series of what the endpoint has now, each
// series' samples ascending, in the place of what was noted before. Of what was
// refused nothing may be noted: it would be refused again, and prove nothing.
func (d *sender) remember(items []remotewrite.Item) {
	kept := d.delivered[:0]
	for _, it := range slices.Backward(items) {
		same := func(other remotewrite.Item) bool { return other.Series == it.Series }
		if it.Kind != remotewrite.Exemplar && !slices.ContainsFunc(kept, same) {
			kept = append(kept, it)
		}
		if len(kept) == remembered {
			break
		}
	}
	if len(kept) > 0 {
		d.delivered = kept
	}
}
