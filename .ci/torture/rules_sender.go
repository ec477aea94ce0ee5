package main

import (
	"fmt"
	"slices"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// senderFacts are what is known of the agent that sends to the one that is judged.
type senderFacts struct {
	ledger ledger.Terms
	known  bool // the ledger has an account of the agent
	least  int  // samples that its targets have answered at least
}

// itself are samples that a sender accounts for: they need not have come.
func (s *senderFacts) itself() uint64 {
	t := terms(s.terms())
	return t[refused] + t[uncertain] + t[evicted] + t[lost] + t[notAppended] + t[rejected] + s.terms().OnDisk
}

// terms are those of the sender's ledger, none where there is no sender.
func (s *senderFacts) terms() ledger.Terms {
	if s == nil {
		return ledger.Terms{}
	}
	return s.ledger
}

// delivered are samples that the agent has taken, as the sender says.
func (s *senderFacts) delivered() uint64 { return s.terms().Delivered }

// chainBroken: "What a device has as delivered, the hub has taken" (receiving.md): what is
// stored of the sender's targets is what it has as delivered, but for what the terms of
// either ledger tell; and the sender keeps the promise as well.
func chainBroken(f facts) (how []string) {
	s := f.sender
	if s == nil {
		return nil
	}
	for _, l := range f.looks {
		if from := l.sender; from != nil && from.Ledger.Appended != from.Ledger.Sum() {
			how = append(how, fmt.Sprintf("the sender at %s: appended %d, the terms are %d", l.to.Format(stamp), from.Ledger.Appended, from.Ledger.Sum()))
		}
	}
	t := terms(s.ledger)
	switch {
	case !s.known:
		return append(how, "the sender's ledger has no account of the agent")
	case s.ledger.Appended != s.ledger.Sum():
		how = append(how, fmt.Sprintf("the sender at the end: appended %d, the terms are %d", s.ledger.Appended, s.ledger.Sum()))
	case s.ledger.OnDisk > 0:
		how = append(how, fmt.Sprintf("the sender at the end: %d are on disk still", s.ledger.OnDisk))
	case s.ledger.Appended+t[notAppended]+t[rejected] < uint64(s.least):
		how = append(how, fmt.Sprintf("the sender has %d appended, not appended or rejected of at least %d", s.ledger.Appended+t[notAppended]+t[rejected], s.least))
	}
	for name, n := range t {
		if n > 0 && !slices.ContainsFunc(f.spans, func(s span) bool {
			m, _ := mannerOf(s.kind)
			return m.sender && slices.Contains(m.costs, name)
		}) {
			how = append(how, fmt.Sprintf("the sender: %d are %s, and nothing was done for that: %+v", n, name, s.ledger))
		}
	}
	for _, d := range f.destinations {
		agents := d.mistaken() + d.ledger.OnDisk
		for _, n := range terms(d.ledger) {
			agents += n
		}
		// What may have been sent and was not noted is evicted on a full disk.
		unknown := t[uncertain] + t[evicted] + s.ledger.OnDisk
		if s.ledger.Delivered > d.sent+agents || d.sent > s.ledger.Delivered+unknown {
			how = append(how, fmt.Sprintf("%s has stored %d samples of the sender, which has %d as delivered, and of %d nobody knows; %d are in terms of the agent",
				d.name, d.sent, s.ledger.Delivered, unknown, agents))
		}
	}
	return how
}
