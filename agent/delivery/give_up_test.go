package delivery

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestGiveUpRefused: of two destinations that are answered with 403, the one that is
// said not to be waited for gives up what is refused, and counts it; the other holds
// it, and gets all of it in the end.
func TestGiveUpRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.addDestination("two", agenttest.Manners{})
	r.options.GiveUpRefused = []string{"one", "absent"}
	r.open()
	r.scrapes(3, 20)
	for _, name := range []string{"one", "two"} {
		r.awaitState(name, Live)
		r.awaitSettled(name)
		r.endpoints[name].Respond(agenttest.Answer{Status: http.StatusForbidden, Body: "not for this tenant"})
	}
	r.scrapes(5, 20)
	r.eventually("one to give up what is refused", func() error {
		r.delivery.Notify()
		if l := r.status("one").Ledger; l.Refused["http_403"] != 100 || l.OnDisk != 0 {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	if l := r.status("two").Ledger; l.OnDisk != 100 || len(l.Refused) > 0 {
		t.Errorf("two: %+v", l)
	}
	for _, name := range []string{"one", "two"} {
		r.endpoints[name].Recover()
	}
	r.scrapes(2, 20)
	for name, want := range map[string]uint64{"one": 100, "two": 200} {
		if l := r.awaitSettled(name); l.Delivered != want || uint64(r.endpoints[name].Snapshot().Accepted) != want {
			t.Errorf("%s: %+v, the endpoint holds %d", name, l, r.endpoints[name].Snapshot().Accepted)
		}
	}
}
