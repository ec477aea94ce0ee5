package delivery

import (
	"math"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestReceivedIsNoScrape: somebody who sends does not hide that nothing is scraped any more.
func TestReceivedIsNoScrape(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	request := &Received{Begin: func() bool { return true }, Admit: func(uint64) bool { return true }, Whole: true}
	app := r.append.AppenderV2(WithReceived(t.Context(), request))
	if _, err := app.Append(0, labels.FromStrings("__name__", "m", "i", "0"), 0, r.next().UnixMilli(), 1, nil, nil, storage.AppendV2Options{}); err != nil {
		t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	if request.Samples != 1 {
		t.Errorf("%+v", request)
	}
	if last := r.delivery.LastCommit(); !last.IsZero() {
		t.Errorf("scraped at %s", last)
	}
}

// TestReceivedLeftOpen: what upstream's handler leaves open, as in a panic, is taken back.
func TestReceivedLeftOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	ls := labels.FromStrings("__name__", "m", "i", "0")
	for i := range 2 {
		request := &Received{Begin: func() bool { return true }, Admit: func(uint64) bool { return true }}
		app := r.append.AppenderV2(WithReceived(t.Context(), request))
		if _, err := app.Append(0, ls, 0, r.next().UnixMilli(), 1, nil, nil, storage.AppendV2Options{}); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			if err := app.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		request.End()
	}
	if l := r.awaitSettled("one"); l.Appended != 1 || l.Delivered != 1 {
		t.Errorf("%+v", l)
	}
}

// TestNewestForgets: series of which nothing comes any more do not count for ever.
func TestNewestForgets(t *testing.T) {
	t.Parallel()
	var n newest
	now := time.Now()
	p := pointOf(1, 1, math.Pi, nil, nil)
	n.note([]point{p, pointOf(2, 1, 1, nil, nil)}, now)
	if !n.is(p) || n.series() != 2 {
		t.Error("not there")
	}
	n.note([]point{pointOf(2, 2, 1, nil, nil)}, now.Add(goneAfter))
	if !n.is(p) {
		t.Error("forgotten too early")
	}
	n.note([]point{pointOf(2, 3, 1, nil, nil)}, now.Add(goneAfter+goneLook))
	if n.is(p) || n.series() != 1 {
		t.Error("never forgotten")
	}
}
