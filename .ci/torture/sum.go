package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// sum is the end of a run in one line.
func sum(f facts) string {
	var b strings.Builder
	scrapes, samples := 0, 0
	for _, t := range f.targets {
		scrapes += t.answered
		samples += t.samples
	}
	fmt.Fprintf(&b, "seed %d: scrapes answered %d, with at least %d samples", f.schedule.seed, scrapes, samples)
	if f.sender != nil {
		fmt.Fprintf(&b, "; sender: appended %d, delivered %d%s", f.sender.ledger.Appended, f.sender.ledger.Delivered, undelivered(f.sender.ledger))
	}
	missing := 0
	for _, d := range f.destinations {
		fmt.Fprintf(&b, "; %s: appended %d, delivered %d", d.name, d.ledger.Appended, d.ledger.Delivered)
		b.WriteString(undelivered(d.ledger))
		if d.lied > 0 {
			fmt.Fprintf(&b, ", lied about %d", d.lied)
		}
		missing += d.unaccounted()
	}
	counts := map[string]int{}
	for _, s := range f.spans {
		counts[s.kind]++
	}
	b.WriteString("; injections")
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, " %s %d", kind, counts[kind])
	}
	fmt.Fprintf(&b, "; looks %d; missing %d", len(f.looks), missing)
	return b.String()
}

// undelivered are the terms of a ledger in which there are samples.
func undelivered(l ledger.Terms) string {
	var b strings.Builder
	all := terms(l)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name] > 0 {
			fmt.Fprintf(&b, ", %s %d", name, all[name])
		}
	}
	return b.String()
}
