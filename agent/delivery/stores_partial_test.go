package delivery

import (
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// TestReloadKeepsWhatIsKnown: what was found out about an endpoint is known after a reload
// that changes something else of its entry, and not of another endpoint or version.
func TestReloadKeepsWhatIsKnown(t *testing.T) {
	t.Parallel()
	for change, c := range map[string]struct {
		settings string
		kept     bool
	}{
		"headers: {X-New: a}": {"    headers: {X-New: a}\n", true},
		"remote write 2.0":    {"    protobuf_message: io.prometheus.write.v2.Request\n", false},
		"url":                 {"", false},
		"refuted":             {"    headers: {X-New: a}\n", false},
	} {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{RemoteWrite2: agenttest.AcceptRemoteWrite2})
			r.open()
			d := r.delivery.all()[0]
			d.learnStored()
			if change == "refuted" {
				d.learnPartial(partialRolledBack)
			}
			r.extra["one"] = c.settings
			if change == "url" {
				r.urls = map[string]string{"one": r.one().URL() + "?other"}
			}
			r.apply()
			now := r.delivery.all()[0]
			if now == d {
				t.Fatal("it was not begun anew")
			}
			if kept := now.partialWrites() == partialStored; kept != c.kept {
				t.Errorf("kept: %v", kept)
			}
		})
	}
}

// TestRestartKeepsWhatIsKnown: a run that begins within an hour knows what the one before it
// has found out, and no other.
func TestRestartKeepsWhatIsKnown(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	r.delivery.all()[0].learnStored()
	r.close()
	r.open()
	if p := r.delivery.all()[0].partialWrites(); p != partialStored {
		t.Errorf("it is taken for %d", p)
	}
	r.close()
	saved := r.saved()
	saved.Written += (2 * time.Hour).Milliseconds() // as by a clock that was ahead
	if _, err := ledger.Write(r.dir, saved); err != nil {
		t.Fatal(err)
	}
	r.open()
	if p := r.delivery.all()[0].partialWrites(); p != partialUnknown {
		t.Errorf("two hours before it was written, it is taken for %d", p)
	}

	r.close()
	r.open()
	r.delivery.all()[0].learnStored()
	r.close()
	saved = r.saved()
	saved.Written += (2 * time.Hour).Milliseconds()
	if _, err := ledger.Write(r.dir, saved); err != nil {
		t.Fatal(err)
	}
	r.options.SameProcess = true
	r.open()
	if p := r.delivery.all()[0].partialWrites(); p != partialStored {
		t.Errorf("after a step of the clock in the same process, it is taken for %d", p)
	}

	now := time.Now()
	for ago, want := range map[time.Duration]bool{0: true, longestTrust: true, longestTrust + time.Millisecond: false, -time.Millisecond: false} {
		if got := trusted(now.Add(-ago).UnixMilli(), now.Truncate(time.Millisecond)); got != want {
			t.Errorf("%s ago: %v", ago, got)
		}
	}
}

// TestRefusalsAloneAreNotKept: a twin of this agent that is ahead of it in all series makes a
// receiver that takes all or nothing look like one that stores the good samples of a refused
// request. No later run may believe that.
func TestRefusalsAloneAreNotKept(t *testing.T) {
	t.Parallel()
	const series = 20
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.openBehind()
	r.one().Recover()
	for i := range series {
		post(t, r.one(), seriesOf(i), time.Now().Add(5*time.Minute).UnixMilli(), 99)
	}
	r.one().Respond(agenttest.Answer{Status: 503})
	r.scrapes(10, series)
	r.one().Recover()
	r.awaitSettled("one")
	if p := r.delivery.all()[0].partialWrites(); p != partialStored {
		t.Errorf("it is taken for %d", p)
	}
	r.close()
	saved := r.saved()
	if v := saved.Destinations["one"].StoresPartial; v != "" {
		t.Errorf("%q is kept", v)
	}
}
