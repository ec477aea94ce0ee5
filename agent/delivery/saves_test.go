package delivery

import (
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

func TestSaves(t *testing.T) {
	t.Parallel()
	const s = time.Second
	then := notable{allLive: true, terms: map[string]ledger.Terms{"one": {Rejected: map[string]uint64{"duplicate": 1}}}}
	for name, tc := range map[string]struct {
		interval, passed time.Duration
		is               notable
		waits, want      bool
	}{
		"nothing to be told":          {30 * s, 30 * s, then, false, false},
		"nothing to be told for long": {30 * s, 269 * s, then, false, false},
		"delivered for long":          {30 * s, 270 * s, then, false, true},
		"something waits":             {30 * s, 270 * s, then, true, false},
		"something always waits":      {30 * s, 300 * s, then, true, true},
		"a pulse that comes early":    {30 * s, 300*s - time.Millisecond, then, true, true},
		"behind":                      {30 * s, 30 * s, notable{false, then.terms}, true, true},
		"behind, a moment ago":        {30 * s, 29 * s, notable{false, then.terms}, true, false},
		"something was lost":          {30 * s, 30 * s, notable{true, map[string]ledger.Terms{"one": {Lost: 1, Rejected: map[string]uint64{"duplicate": 1}}}}, false, true},
		"another was rejected":        {30 * s, 31 * s, notable{true, map[string]ledger.Terms{"one": {Rejected: map[string]uint64{"duplicate": 2}}}}, false, true},
		"another destination":         {30 * s, 31 * s, notable{true, map[string]ledger.Terms{"one": then.terms["one"], "two": {}}}, false, true},
		"never for the time":          {0, time.Hour, notable{}, false, false},
		"never, whatever waits":       {0, time.Hour, then, true, false},
	} {
		begin := time.Now()
		saves := saves{interval: tc.interval}
		saves.did(begin, then)
		if got := saves.due(begin.Add(tc.passed), func() notable { return tc.is }, func() bool { return tc.waits }); got != tc.want {
			t.Errorf("%s: due is %t", name, got)
		}
	}
}

// TestNotable: what is scraped and delivered is not told at once, what becomes of samples
// otherwise is, and all of a destination that is not live.
func TestNotable(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	r.awaitState("one", Live)
	r.scrapes(3, 10)
	r.awaitSettled("one")
	saves := saves{interval: time.Second, last: time.Now()}
	saves.did(saves.last, r.delivery.notable())
	due := func() bool { return saves.due(saves.last.Add(2*time.Second), r.delivery.notable, r.delivery.waits) }
	r.scrapes(3, 10)
	r.awaitSettled("one")
	if due() {
		t.Errorf("to be told: %+v", r.delivery.notable())
	}
	r.delivery.book.NotAppended(1)
	if !due() {
		t.Error("what was not appended is not told")
	}
	saves.did(saves.last, r.delivery.notable())
	r.goBehind("one")
	if !due() {
		t.Error("a destination that is behind is not told")
	}
}
