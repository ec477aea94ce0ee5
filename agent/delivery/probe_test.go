package delivery

import (
	"errors"
	"strconv"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// TestProbeEnd: a probe has whole series where these are small enough, and something of
// the first one otherwise.
func TestProbeEnd(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		series []int // how many items each has
		want   int
	}{
		{nil, 0},
		{[]int{60}, 60},
		{[]int{1000}, probeItems},
		{[]int{60, 60, 1000}, 120},
		{[]int{30, 1000}, probeItems},
		{[]int{100, 1000}, 100},
		{[]int{150, 1000}, 150},
		{[]int{200, 1000}, 200},
		{[]int{201, 1000}, probeItems},
	} {
		var items []remotewrite.Item
		for _, n := range tc.series {
			one := &remotewrite.Series{}
			for range n {
				items = append(items, remotewrite.Item{Series: one})
			}
		}
		if got := probeEnd(items); got != tc.want {
			t.Errorf("%v: %d instead of %d", tc.series, got, tc.want)
		}
	}
}

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
