package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// rule is something that is promised. broken says how it was not kept, with figures;
// nothing if it was. It looks at facts only.
type rule struct {
	name   string
	broken func(facts) []string
}

// rules are all that a run is judged by.
var rules = []rule{
	{"no exit by itself", exitsBroken},
	{"no panic", func(f facts) []string { return f.log }},
	{"every answered scrape is delivered or in a term", missingBroken},
	{"what is appended is what was scraped", appendedBroken},
	{"the ledger adds up", sumBroken},
	{"what is delivered is stored", deliveredBroken},
	{"every term has a cause", causesBroken},
	{"in order", orderBroken},
	{"no value changed", valuesBroken},
	{"the budget is held", budgetBroken},
	{"the memory is held", memoryBroken},
	{"caught up in time", caughtUpBroken},
	{"goroutines and memory come back", levelsBroken},
	{"what a sender has as delivered is taken", chainBroken},
	{"the verdict tells of trouble in time", untoldBroken},
	{"the verdict tells of no trouble where there is none", invertedBroken},
}

// breach is a rule that was broken.
type breach struct {
	rule string
	how  []string
}

func judge(f facts) (breaches []breach) {
	for _, r := range rules {
		if how := r.broken(f); len(how) > 0 {
			breaches = append(breaches, breach{r.name, how})
		}
	}
	return breaches
}

// exitsBroken: "Whatever a host, a target, a file or an endpoint does must neither end the
// process" (contributing.md), and a stop ends with 0 (commands.md).
func exitsBroken(f facts) (how []string) {
	for _, e := range f.exits {
		switch {
		case e.after == "":
			how = append(how, fmt.Sprintf("%s ended by itself at %s, with code %d", e.who, e.at.Format(stamp), e.code))
		case e.after != "killed" && e.code != 0:
			how = append(how, fmt.Sprintf("after %q at %s %s ended with code %d, in %s", e.after, e.at.Format(stamp), e.who, e.code, e.took))
		}
	}
	return how
}

// stamp is how the agent's log writes times.
const stamp = "15:04:05.000"

// mistaken are samples that may count as delivered although the endpoint has not stored
// them. It lied, or: "What may have been sent before is sent again, and Cortex answers out
// of order to requests of which it has newer samples too, whatever else is wrong with them:
// they count as delivered" (delivery.md, a refused series after a crash).
func (d destinationFacts) mistaken() uint64 { return d.lied + d.unsaved }

// unaccounted are samples at least that did not arrive and stand in no term.
func (d destinationFacts) unaccounted() int {
	t := terms(d.ledger)
	// filtered is not among them: it has series that are looked for nowhere.
	accounted := t[refused] + t[uncertain] + t[evicted] + t[lost] + t[notAppended] + t[rejected] + d.ledger.OnDisk + d.mistaken()
	return max(0, d.missing-d.forgotten-int(accounted))
}

// missingBroken: "Every sample that a scrape commits stays on disk until each destination
// has acknowledged it, or is entered in the ledger with the reason why not" (delivery.md).
func missingBroken(f facts) (how []string) {
	for _, d := range f.destinations {
		if n := d.unaccounted() - int(f.sender.itself()); n > 0 {
			how = append(how, fmt.Sprintf("%s: of %d that are missing at least, %d stand in no term of the ledger: %s",
				d.name, d.missing, n, strings.Join(d.examples, "; ")))
		}
	}
	return how
}

// appendedBroken: the ledger counts every sample that a target knows to have been read.
func appendedBroken(f facts) (how []string) {
	least := 0
	for _, t := range f.targets {
		least += t.samples
	}
	for _, d := range f.destinations {
		t := terms(d.ledger)
		if got, all := d.ledger.Appended+t[notAppended]+t[rejected], uint64(least)+f.sender.delivered(); got < all {
			how = append(how, fmt.Sprintf("%s: %d appended, not appended or rejected of at least %d", d.name, got, all))
		}
	}
	return how
}

// sumBroken: "It adds up to the sample at every moment" (delivery.md).
func sumBroken(f facts) (how []string) {
	for _, l := range f.looks {
		for _, d := range l.destinations {
			if d.Ledger.Appended != d.Ledger.Sum() {
				how = append(how, fmt.Sprintf("%s at %s: appended %d, the terms are %d", d.Name, l.to.Format(stamp), d.Ledger.Appended, d.Ledger.Sum()))
			}
		}
	}
	for _, d := range f.destinations {
		switch {
		case !d.known:
			how = append(how, d.name+": the ledger has no account of it")
		case d.ledger.Appended != d.ledger.Sum():
			how = append(how, fmt.Sprintf("%s at the end: appended %d, the terms are %d", d.name, d.ledger.Appended, d.ledger.Sum()))
		case d.ledger.OnDisk > 0:
			how = append(how, fmt.Sprintf("%s at the end: %d are on disk still", d.name, d.ledger.OnDisk))
		}
	}
	return how
}

// deliveredBroken: delivered is "acknowledged by the endpoint, or already there"
// (ledger.Terms), and of what is uncertain nobody knows whether it is.
func deliveredBroken(f facts) (how []string) {
	for _, d := range f.destinations {
		// What is on disk still breaks another rule; a part of it may have been taken.
		unknown := terms(d.ledger)[uncertain] + d.ledger.OnDisk + d.unnoted
		// "After a kill on a full disk, what was sent and not noted may be evicted before it
		// is sent again: it counts as evicted, although the endpoint may have it"; and so may
		// what was sent and not answered.
		if f.unacknowledged(d.name) {
			unknown += d.ledger.Evicted
		}
		acknowledged := d.stored + d.mistaken()
		// Two samples of one time are stored once if they are the same: a step of the clock makes
		// such, and a sender that was not answered before a kill sends what the next run, which
		// begins anew, takes a second time.
		if f.clockSet() || f.resent() {
			acknowledged += d.twice
		}
		if d.ledger.Delivered > acknowledged || d.stored > d.ledger.Delivered+unknown {
			how = append(how, fmt.Sprintf("%s: %d delivered and %d of which nobody knows, the endpoint has stored %d, lied about %d and refused %d before a kill",
				d.name, d.ledger.Delivered, unknown, d.stored, d.lied, d.unsaved))
		}
	}
	return how
}

// resent reports whether a sender may have sent to two runs of the agent what both have taken.
func (f facts) resent() bool {
	return f.sender != nil && slices.ContainsFunc(f.spans, func(s span) bool {
		m, _ := mannerOf(s.kind)
		return m.kills
	})
}

// unacknowledged reports whether a destination may have stored what the agent was not told of.
func (f facts) unacknowledged(destination string) bool {
	return slices.ContainsFunc(f.spans, func(s span) bool {
		m, _ := mannerOf(s.kind)
		return m.unacknowledged && (s.on == "" || s.on == destination)
	})
}

// causesBroken: a term has samples only where something was done that costs them, and of
// what was refused no more than the endpoint refused.
func causesBroken(f facts) (how []string) {
	allowed := []string{filtered} // one destination takes no native histograms
	for _, s := range f.spans {
		m, _ := mannerOf(s.kind)
		if !m.sender {
			allowed = append(allowed, m.costs...)
		}
		if m.resends && f.sender != nil { // what the storage has already
			allowed = append(allowed, rejected)
		}
		if m.kills && f.sender != nil { // what the endpoint has, of the run before
			allowed = append(allowed, refused, uncertain)
		}
	}
	for _, d := range f.destinations {
		t := terms(d.ledger)
		for _, name := range []string{refused, filtered, uncertain, evicted, lost, notAppended, rejected} {
			if t[name] > 0 && !slices.Contains(allowed, name) {
				how = append(how, fmt.Sprintf("%s: %d are %s, and nothing was done for that: %+v", d.name, t[name], name, d.ledger))
			}
		}
		if t[refused]+t[uncertain] > d.refused {
			how = append(how, fmt.Sprintf("%s: %d refused and %d uncertain, in requests with %d that the endpoint refused", d.name, t[refused], t[uncertain], d.refused))
		}
	}
	return how
}

func orderBroken(f facts) (how []string) {
	for _, d := range f.destinations {
		// What was given up is asked for no more, or sent again behind what came after it; and
		// a queue that starts anew sends once more what is dated ahead, which a liar does not have.
		if givenUp := terms(d.ledger)[uncertain] + terms(d.ledger)[refused] + d.mistaken() + terms(f.sender.terms())[uncertain]; d.order != nil && givenUp == 0 && !f.clockSet() {
			how = append(how, d.name+": "+d.order.Error())
		}
	}
	return how
}

func valuesBroken(f facts) (how []string) {
	for _, d := range f.destinations {
		for _, w := range d.wrong {
			how = append(how, d.name+": "+w)
		}
	}
	return how
}

// budgetBroken: "Kept within --storage.backlog.max-bytes" (delivery.md).
func budgetBroken(f facts) (how []string) {
	for _, l := range f.looks {
		if l.senderDisk > budget<<20 {
			how = append(how, fmt.Sprintf("%d bytes on the sender's disk at %s, of %d", l.senderDisk, l.to.Format(stamp), budget<<20))
		}
		if l.disk > budget<<20 {
			how = append(how, fmt.Sprintf("%d bytes on disk at %s, of %d", l.disk, l.to.Format(stamp), budget<<20))
		}
	}
	return how
}

// memoryBroken: the limits follow from GOMEMLIMIT (sizing.md), which does not count the
// pages of the binary.
func memoryBroken(f facts) (how []string) {
	const pages = 48 << 20
	for _, l := range f.looks {
		if l.resident > memory<<20+pages {
			how = append(how, fmt.Sprintf("%d bytes resident at %s, with GOMEMLIMIT=%dMiB", l.resident, l.to.Format(stamp), memory))
		}
	}
	return how
}

// caughtUpBroken: "delivered oldest first when it is back, then live again" (delivery.md).
func caughtUpBroken(f facts) (how []string) {
	if len(f.looks) == 0 {
		return []string{"nobody has looked"}
	}
	last := f.looks[len(f.looks)-1]
	if last.to.Sub(f.ended) < settling-told {
		return nil // there was no need to wait for longer
	}
	if last.sender != nil && !last.sender.caughtUp() {
		how = append(how, fmt.Sprintf("the sender, %s after the last trouble: %s, %d on disk, last error %q", last.to.Sub(f.ended).Round(time.Second), last.sender.State, last.sender.Ledger.OnDisk, last.sender.LastError))
	}
	for _, d := range last.destinations {
		if !d.caughtUp() {
			how = append(how, fmt.Sprintf("%s, %s after the last trouble: %s, %d on disk, last error %q", d.Name, last.to.Sub(f.ended).Round(time.Second), d.State, d.Ledger.OnDisk, d.LastError))
		}
	}
	return how
}

// levelsBroken compares the end with when the agent was well for the first time.
func levelsBroken(f facts) (how []string) {
	// That it may be more: a destination that is behind has goroutines of its own.
	const goroutines, resident, heavy = 20, 64 << 20, 128 << 20
	i := slices.IndexFunc(f.looks, func(l look) bool { return l.code == 0 && l.goroutines > 0 })
	if i < 0 {
		return nil // which breaks another rule
	}
	first, last := f.looks[i], f.looks[len(f.looks)-1]
	if last.beside() > first.beside()+goroutines {
		how = append(how, fmt.Sprintf("%d goroutines at the end with %d sockets, %d with %d at first", last.goroutines, last.sockets, first.goroutines, first.sockets))
	}
	more := int64(resident)
	// What a body took goes back to the system by and by.
	if slices.ContainsFunc(f.spans, func(s span) bool {
		m, _ := mannerOf(s.kind)
		return m.heavy && s.overlaps(last.from.Add(-5*time.Minute), last.to)
	}) {
		more = heavy
	}
	if last.resident > first.resident+more {
		how = append(how, fmt.Sprintf("%d bytes resident at the end, %d at first", last.resident, first.resident))
	}
	return how
}

// beside are the goroutines of a process that need not belong to a connection: one has two,
// and one that nobody uses stays open for 5 minutes behind a queue that has ended.
func (l look) beside() int { return l.goroutines - 2*l.sockets }
