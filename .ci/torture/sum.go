package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
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
	missing := 0
	for _, d := range f.destinations {
		fmt.Fprintf(&b, "; %s: appended %d, delivered %d", d.name, d.ledger.Appended, d.ledger.Delivered)
		all := terms(d.ledger)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if all[name] > 0 {
				fmt.Fprintf(&b, ", %s %d", name, all[name])
			}
		}
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
