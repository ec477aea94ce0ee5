package delivery

import (
	"slices"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// remembered is how many series a drainer remembers the last sample of.
const remembered = 16

// newerIn returns those of some samples, at most n, of whose series there is a newer
// one among items.
func newerIn(items, samples []remotewrite.Item, n int) (out []remotewrite.Item) {
	for _, old := range samples {
		newer := func(it remotewrite.Item) bool {
			return it.Series == old.Series && it.T > old.T && it.Kind != remotewrite.Exemplar
		}
		if len(out) < n && slices.ContainsFunc(items, newer) {
			out = append(out, old)
		}
	}
	return out
}

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
		d.delivered, d.own = kept, true
	}
}
