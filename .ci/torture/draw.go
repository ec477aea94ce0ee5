package main

import (
	"cmp"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"
)

// settling is what is left of a run for the agent to be well again in, after the last
// trouble is over.
const settling = 50 * time.Second

// lane is where one thing happens after the other, with a pause between: what happens
// in different lanes happens at once.
type lane struct {
	name    string
	on      string
	manners []manner
	pause   [2]time.Duration
}

// lanes are all of them, one for each destination.
func lanes() []lane {
	all := []lane{
		{"process", "", slices.Concat(ofProcess, ofDevice), [2]time.Duration{5 * time.Second, 25 * time.Second}},
		{"file", "", ofFile, [2]time.Duration{5 * time.Second, 20 * time.Second}},
		{"disk", "", ofDisk, [2]time.Duration{10 * time.Second, 60 * time.Second}},
		{"clock", "", ofClock, [2]time.Duration{10 * time.Second, 60 * time.Second}},
		{"target", oddTarget, ofTarget, [2]time.Duration{3 * time.Second, 15 * time.Second}},
		{"sender", "", slices.Concat(ofSender, ofSenderDisk), [2]time.Duration{5 * time.Second, 25 * time.Second}},
	}
	for _, d := range destinations {
		all = append(all, lane{"to " + d.name, d.name, ofDestination, [2]time.Duration{3 * time.Second, 20 * time.Second}})
	}
	return all
}

// draw makes a schedule that follows from its arguments alone. Each lane has dice of its
// own, so that a row more in one leaves the others as they are.
func draw(seed uint64, length time.Duration) schedule {
	s := schedule{seed: seed, length: length}
	for _, l := range lanes() {
		name := fnv.New64()
		_, _ = name.Write([]byte(l.name))
		s.events = append(s.events, l.draw(rand.New(rand.NewPCG(seed, name.Sum64())), length-settling)...)
	}
	slices.SortStableFunc(s.events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return s
}

func (l lane) draw(r *rand.Rand, end time.Duration) (events []event) {
	for at := between(r, l.pause); ; at += between(r, l.pause) {
		m := pick(r, l.manners)
		e := event{at: at, lasts: between(r, m.lasts), kind: m.kind, on: l.on}
		if m.args != nil {
			e.args = m.args(r)
		}
		if at += e.lasts; at > end {
			return events
		}
		events = append(events, e)
	}
}

// between is in whole tenths of a second.
func between(r *rand.Rand, bounds [2]time.Duration) time.Duration {
	const unit = 100 * time.Millisecond
	return bounds[0] + time.Duration(r.IntN(int((bounds[1]-bounds[0])/unit)+1))*unit
}

func pick(r *rand.Rand, from []manner) manner {
	sum := 0
	for _, m := range from {
		sum += m.weight
	}
	n := r.IntN(sum)
	for _, m := range from {
		if n -= m.weight; n < 0 {
			return m
		}
	}
	return from[0]
}
