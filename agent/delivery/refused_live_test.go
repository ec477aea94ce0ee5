package delivery

import (
	"fmt"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// TestRefusedLiveBeforeAKill: a live batch is refused for good, newer samples of its series
// are taken, and the run is killed before it writes its marks for the time. What was refused
// is not there, though it is refused as older than what is.
func TestRefusedLiveBeforeAKill(t *testing.T) {
	t.Parallel()
	for receiver, manners := range receivers {
		for _, series := range []int{2, 20, 1500} { // 1500: a record is several batches
			t.Run(fmt.Sprintf("%s, %d", receiver, series), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, manners)
				r.options.SaveInterval = time.Hour
				r.open()
				r.awaitState("one", Live)
				r.scrapes(3, series)
				r.awaitSettled("one")
				// Somebody else writes ahead of us in one series.
				post(t, r.one(), seriesOf(series-1), time.Now().Add(5*time.Minute).UnixMilli(), 99)
				r.scrapes(1, series)
				before := r.awaitSettled("one")
				if ledger.Total(before.Uncertain) == 0 || r.status("one").State != Live {
					t.Fatalf("it is %s: %+v", r.status("one").State, before)
				}
				r.scrapes(2, series-1)
				r.awaitSettled("one")
				r.crash()
				r.pass()
				r.open()
				l := r.awaitSettled("one")
				unknown := ledger.Total(l.Uncertain)
				if held := r.accepted("one") - 1; l.Delivered > held || held > l.Delivered+unknown || l.Delivered+ledger.Total(l.Refused)+unknown != l.Appended {
					t.Errorf("the endpoint holds %d of %+v", held, l)
				}
				if unknown > uint64(series) {
					t.Errorf("%d are uncertain: %+v", unknown, l)
				}
			})
		}
	}
}
