package delivery

import (
	"errors"
	"strconv"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestProbes: an endpoint that has been ill for a while is asked with small requests,
// and gets everything, in order, when it is well.
func TestProbes(t *testing.T) {
	t.Parallel()
	for _, ill := range []agenttest.Answer{{Status: 503}, {Reset: true}, {Status: 409, Body: "500-to-409: empty ring"}, {Status: 500, Store: true}} {
		t.Run(strconv.Itoa(ill.Status), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			r.openBehind()
			r.one().Respond(ill)
			r.scrapes(30, 100)
			var asked int
			r.eventually("small requests", func() error {
				requests := r.one().Snapshot().Requests
				if asked = len(requests); requests[asked-1].Status != ill.Status || requests[asked-1].Samples > 2*probeItems {
					return errors.New("the last one is not")
				}
				return nil
			})
			r.one().Recover()
			r.checkDelivered("one")
			for _, q := range r.one().Snapshot().Requests[asked:] {
				if q.Status == ill.Status && q.Samples > 2*probeItems {
					t.Errorf("after small requests, one with %d samples", q.Samples)
				}
			}
		})
	}
}
