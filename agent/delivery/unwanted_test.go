package delivery

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// TestUnwanted: a series is left out until it is due, asked about by itself, and
// forgotten when it is in the flow no more.
func TestUnwanted(t *testing.T) {
	t.Parallel()
	const pause = 5 * time.Minute
	u := unwanted{pause: pause}
	items := grouped([]int64{1, 2}, []int64{1, 2}, []int64{1, 2})
	items[1].Kind = remotewrite.Exemplar
	if !u.quiet(machineStart) || u.why() != "" {
		t.Error("something is remembered from the beginning")
	}
	for i, reason := range map[int]string{0: "http_400", 2: "http_422"} {
		u.note(unwantedSeries{labels: items[i].Series.Labels, reason: reason, words: "no " + reason}, machineStart.Add(time.Duration(i)))
	}
	if why := u.why(); !strings.Contains(why, `{__name__="b"}: no http_422`) || !strings.Contains(why, "refuses 2 series") {
		t.Errorf("it says %q", why)
	}
	for _, c := range []struct {
		after time.Duration
		kept  []string
		due   []string
		left  uint64
	}{
		{pause - 1, []string{"c1", "c2"}, nil, 3},
		{pause, []string{"c1", "c2"}, []string{"a1", "a2"}, 2},
		{pause + 2, []string{"c1", "c2"}, []string{"a1", "a2"}, 2}, // both are due; the first waits for longer
	} {
		// A series that is read again has the same labels, and is another one.
		again := grouped([]int64{1, 2}, []int64{1, 2}, []int64{1, 2})
		again[1].Kind = remotewrite.Exemplar
		kept, out := u.sift(again, machineStart.Add(c.after))
		if !slices.Equal(spell(kept), c.kept) || !slices.Equal(spell(out.items), c.due) || ledger.Total(out.refused) != c.left {
			t.Errorf("after %s: kept %v, asked %v, %v refused", c.after, spell(kept), spell(out.items), out.refused)
		}
	}
	u.find(items[0].Series.Labels).asked = machineStart.Add(2 * pause)
	if _, out := u.sift(slices.Clone(items), machineStart.Add(2*pause)); out.due == nil || out.due.reason != "http_422" {
		t.Errorf("after the first was asked about: %+v", out)
	}
	met := machineStart.Add(2 * pause)
	if u.quiet(met.Add(quietPauses*pause - 1)) {
		t.Error("it is quiet too soon")
	}
	if u.expire(met.Add(quietPauses*pause - 1)); len(u.series) != 2 {
		t.Errorf("%d are left", len(u.series))
	}
	if u.expire(met.Add(quietPauses * pause)); len(u.series) != 0 || !u.quiet(met.Add(quietPauses*pause)) {
		t.Errorf("%d are left of series that are gone", len(u.series))
	}
}

// TestUnwantedBound: what is remembered is bounded, in number and in words.
func TestUnwantedBound(t *testing.T) {
	t.Parallel()
	u := unwanted{pause: time.Minute}
	for i := range mostUnwanted + 10 {
		u.note(unwantedSeries{labels: labels.FromStrings("i", strconv.Itoa(i)), words: strings.Repeat("ä", 1000)}, machineStart)
	}
	if len(u.series) != mostUnwanted || !u.full() {
		t.Errorf("%d are remembered", len(u.series))
	}
	if u.find(labels.FromStrings("i", strconv.Itoa(mostUnwanted))) != nil {
		t.Error("one above the bound is")
	}
	known := labels.FromStrings("i", "0")
	u.note(unwantedSeries{labels: known, words: "new"}, machineStart.Add(time.Second))
	if s := u.find(known); s == nil || s.words != "new" {
		t.Errorf("one that is known is %+v", s)
	}
	// Another series with the same hash is not taken for it.
	u.series[known.Hash()].labels = labels.FromStrings("another", "one")
	if u.find(known) != nil {
		t.Error("two series of one hash are taken for one")
	}
	u.note(unwantedSeries{labels: known}, machineStart)
	if s := u.series[known.Hash()]; labels.Equal(s.labels, known) {
		t.Error("one is remembered in the place of the other")
	}
	if u.note(unwantedSeries{labels: labels.FromStrings("i", "1"), words: strings.Repeat("x", 10_000)}, machineStart.Add(time.Hour)); len(u.why()) > 1000 {
		t.Errorf("%d bytes to say why", len(u.why()))
	}
	u.forgetAll()
	if u.why() != "" || u.full() {
		t.Error("something is left")
	}
}
