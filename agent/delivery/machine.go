package delivery

import (
	"fmt"
	"time"
)

// machine decides what follows for one destination from what happened to it. It
// does no I/O, has no clock and no goroutine: On is all there is. Callers
// serialise their calls.
type machine struct {
	state State
	since time.Time // when it was entered
	// why the destination is behind; empty when it never was anything else.
	why string
	// minStay is how long a patient destination stays behind.
	minStay time.Duration
	// patient: the destination was handed over before, or it was tried.
	patient bool
	partial partialWrites
}

func newMachine(minStay time.Duration, now time.Time) *machine {
	return &machine{state: Behind, since: now, minStay: minStay}
}

// decision is what On answers.
type decision struct {
	do action
	// left: the destination has just ceased to be live or to be handed over, and
	// why says what for. Whoever holds a request of the queue keeps holding it.
	left bool
	why  string
}

// On says what is to be done about an event at a moment, and enters the state
// that follows. The answer is that of the first row of transitions that fits.
func (m *machine) On(e event, now time.Time) decision {
	for i := range transitions {
		r := &transitions[i]
		if !r.fits(m.state, facts{e, m.partial, m.stayed(now)}) {
			continue
		}
		d := decision{do: r.do, why: r.why}
		if r.to == "" || r.to == m.state {
			return d
		}
		d.left = r.to == Behind
		m.state, m.since = r.to, now
		switch r.to {
		case Live:
			m.why = ""
		case Behind:
			m.patient, m.why = true, r.why
		}
		return d
	}
	// The table is complete; the test of it says so.
	return decision{do: carryOn, why: fmt.Sprintf("nothing is known of %q while %s", e.kind, m.state)}
}

// stayed reports whether the destination has been behind for long enough. The
// first hand-over need not wait.
func (m *machine) stayed(now time.Time) bool { return m.staysFor(now) <= 0 }

// staysFor is how long it is until then.
func (m *machine) staysFor(now time.Time) time.Duration {
	if !m.patient {
		return 0
	}
	return m.minStay - now.Sub(m.since)
}
