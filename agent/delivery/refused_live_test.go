package delivery

import (
	"fmt"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
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

// TestLeftOutIsOlder: that a series which was left out is refused for what is there tells that
// it is there only where nothing of it was refused before, nor dated by a clock that had been
// set back.
func TestLeftOutIsOlder(t *testing.T) {
	t.Parallel()
	r := newRig(t, receivers["Cortex"])
	r.options.MinStay = time.Hour
	r.open()
	r.awaitState("one", Live)
	r.scrapes(1, 1)
	r.awaitSettled("one")
	for name, c := range map[string]struct {
		was       earlier
		overtaken ledger.Overtaken
		delivered uint64
	}{
		"sent before":               {was: earlier{resent: true}, delivered: 1},
		"perhaps refused":           {was: earlier{resent: true, refused: true}},
		"dated by a clock set back": {was: earlier{resent: true}, overtaken: ledger.Overtaken{UpTo: r.last.UnixMilli()}},
	} {
		d := newSender(r.delivery.all()[0], nil)
		d.overtaken.Store(&c.overtaken)
		d.unwanted.note(unwantedSeries{labels: seriesOf(0), reason: "http_400"}, time.Now().Add(-d.unwanted.pause))
		items := []remotewrite.Item{{Series: &remotewrite.Series{Labels: seriesOf(0)}, T: r.last.UnixMilli() - 1, V: 1}}
		var o ledger.Outcome
		left, err := d.leaveOut(t.Context(), items, c.was, &o)
		if err != nil || len(left) > 0 || o.Delivered != c.delivered || o.Total() != 1 || ledger.Total(o.Refused) > 0 {
			t.Errorf("%s: %+v, and %d are left, %v", name, o, len(left), err)
		}
	}
}
