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
	scrapes := 0
	for _, t := range f.targets {
		scrapes += t.answered
	}
	fmt.Fprintf(&b, "seed %d: scrapes answered %d", f.schedule.seed, scrapes)
	missing := 0
	for _, d := range f.destinations {
		fmt.Fprintf(&b, "; %s: samples %d, delivered %d", d.name, d.ledger.Appended, d.ledger.Delivered)
		all := terms(d.ledger)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if all[name] > 0 {
				fmt.Fprintf(&b, ", %s %d", name, all[name])
			}
		}
		if d.lied > 0 {
			fmt.Fprintf(&b, ", lied about %d", d.lied)
		}
		missing += max(0, int(d.ledger.Appended)-int(d.ledger.Sum()))
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
