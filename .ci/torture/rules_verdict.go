package main

import (
	"fmt"
	"time"
)

const (
	// calm is how long nothing must have been wrong for the verdict to have to be good:
	// 45 s, for which a destination may be unconfirmed (monitoring.md).
	calm = 45 * time.Second
	// remembered is how long samples that did not arrive are told of: "What is over counts
	// for 15 minutes" (monitoring.md).
	remembered = 15 * time.Minute
	// startup is what a start may take until the agent answers, on a busy machine.
	startup = 15 * time.Second
)

// untoldBroken: the verdict tells of a trouble that has been there for as long as it may
// go untold; and while the agent runs it can be asked.
func untoldBroken(f facts) (how []string) {
	for _, l := range f.looks {
		if l.pid == 0 {
			continue
		}
		if l.code == 2 {
			if l.from.Sub(f.startedBefore(l.from)) > startup {
				how = append(how, fmt.Sprintf("at %s the agent cannot be asked: %s", l.to.Format(stamp), l.headline))
			}
			continue
		}
		if l.code != 0 {
			continue
		}
		for _, s := range f.spans {
			m, _ := mannerOf(s.kind)
			whole := s.from.Before(l.from) && (s.to.IsZero() || s.to.After(l.to))
			if m.noticed > 0 && whole && l.from.Sub(f.wokenSince(s.from, l.from)) > m.noticed {
				how = append(how, fmt.Sprintf("at %s all is well, while for %s: %s", l.to.Format(stamp), l.from.Sub(s.from).Round(time.Second), s.event))
			}
		}
	}
	return how
}

// invertedBroken: where nothing has been wrong for long enough, and nothing was lost that
// is told of for long, all is well.
func invertedBroken(f facts) (how []string) {
	for _, l := range f.looks {
		if l.pid == 0 || l.code == 0 || !f.calmAt(l) {
			continue
		}
		how = append(how, fmt.Sprintf("at %s, code %d: %s", l.to.Format(stamp), l.code, l.headline))
	}
	return how
}

// calmAt reports whether nothing was wrong in the time before a look.
func (f facts) calmAt(l look) bool {
	if l.from.Sub(f.startedBefore(l.from)) < calm {
		return false
	}
	for _, s := range f.spans {
		m, _ := mannerOf(s.kind)
		before := calm
		if len(m.costs) > 0 && !m.sender {
			before = remembered
		}
		if !m.harmless && s.overlaps(l.from.Add(-before), l.to) {
			return false
		}
	}
	return true
}

// startedBefore is when the process began that runs at a time.
func (f facts) startedBefore(t time.Time) (last time.Time) {
	for _, s := range f.starts {
		if s.Before(t) && s.After(last) {
			last = s
		}
	}
	return last
}

// wokenSince is the later of a time and of when the process was started or let go on,
// before another time: what sleeps notices nothing.
func (f facts) wokenSince(from, before time.Time) time.Time {
	if started := f.startedBefore(before); started.After(from) {
		from = started
	}
	for _, s := range f.spans {
		if s.kind == "stop" && s.to.After(from) && s.to.Before(before) {
			from = s.to
		}
	}
	return from
}
