package main

import (
	"slices"
	"time"
)

// measurand is what a run measures, in words with the unit.
type measurand string

const (
	rss               measurand = "RSS, MiB"
	anon              measurand = "anonymous pages, MiB"
	file              measurand = "file pages, MiB"
	cpu               measurand = "CPU, % of a core"
	cpuSample         measurand = "CPU, µs/sample"
	switches          measurand = "context switches/s"
	wireSample        measurand = "wire, bytes/sample"
	diskSample        measurand = "written to disk, bytes/sample"
	disk              measurand = "disk use, MiB"
	outageRSS         measurand = "RSS in the outage, MiB"
	outageGrowth      measurand = "RSS in the outage / before"
	deadStop          measurand = "stop with a dead endpoint, s"
	backlogDisk       measurand = "disk use at the start, MiB"
	firstAcknowledged measurand = "start to first acknowledged sample, s"
	firstWithoutMarks measurand = "the same without the marks, s"
	caughtUp          measurand = "caught up after, s"
	oldSamples        measurand = "samples caught up on"
	catchUpRate       measurand = "catch-up, samples/s"
	catchUpWire       measurand = "catch-up, bytes/sample"
	lostScrapes       measurand = "scrapes lost"

	// Of the guest, before its figures by PID.
	availableFall measurand = "fall of MemAvailable, MiB"
	roomFall      measurand = "less room for others under pressure, MiB"
	freeFall      measurand = "fall of MemFree, MiB"
	cachedRise    measurand = "rise of Cached, MiB"
	anonRise      measurand = "rise of AnonPages, MiB"
	slabRise      measurand = "rise of Slab, MiB"
	group         measurand = "memory.current of its unit, MiB"
	pressedGroup  measurand = "memory.current under pressure, MiB"
	pressedRSS    measurand = "RSS under pressure, MiB"
	pressedAnon   measurand = "anonymous pages under pressure, MiB"
	pressedFile   measurand = "file pages under pressure, MiB"
)

// measurands are all of them, in the order in which they are shown.
var measurands = []measurand{
	availableFall, roomFall, freeFall, cachedRise, anonRise, slabRise, group,
	rss, anon, file, cpu, cpuSample, switches, wireSample, diskSample, disk, outageRSS, outageGrowth,
	deadStop, backlogDisk, firstAcknowledged, firstWithoutMarks, caughtUp, oldSamples, catchUpRate, catchUpWire,
	pressedGroup, pressedRSS, pressedAnon, pressedFile, lostScrapes,
}

// goal is what the agent is to reach.
type goal struct {
	scenario  string
	measurand measurand
	relative  bool   // to prometheus without discoveries
	to        string // to this one instead, if relative
	atLeast   bool   // instead of at most
	bound     float64
	outage    time.Duration // that it is meant for, at least; in a shorter one timers decide
}

// goals are what the agent is to reach beside its peers.
var goals = []goal{
	{scenario: tiny, measurand: rss, relative: true, bound: 0.42},
	{scenario: small, measurand: rss, relative: true, bound: 0.58},
	{scenario: large, measurand: rss, relative: true, bound: 0.80},
	{scenario: idle, measurand: cpu, relative: true, bound: 0.35},
	{scenario: tiny, measurand: cpu, relative: true, bound: 0.35},
	{scenario: small, measurand: cpuSample, relative: true, bound: 0.85},
	{scenario: large, measurand: cpuSample, relative: true, bound: 0.85},
	{scenario: tiny, measurand: wireSample, relative: true, bound: 0.92},
	{scenario: small, measurand: wireSample, relative: true, bound: 0.92},
	{scenario: large, measurand: wireSample, relative: true, bound: 0.92},
	{scenario: tiny, measurand: diskSample, relative: true, bound: 1},
	{scenario: small, measurand: diskSample, relative: true, bound: 0.65},
	{scenario: small, measurand: outageGrowth, bound: 1.05, outage: 10 * time.Minute},
	{scenario: small, measurand: catchUpWire, bound: 8, outage: 10 * time.Minute},
	{scenario: small, measurand: lostScrapes, bound: 0},
	{scenario: backlogs, measurand: catchUpRate, atLeast: true, bound: 500_000},
	{scenario: backlogs, measurand: catchUpWire, bound: 8},
	{scenario: backlogs, measurand: firstAcknowledged, bound: 3}, // two seconds and an interval
	{scenario: backlogs, measurand: firstWithoutMarks, bound: 3},
	{scenario: backlogs, measurand: lostScrapes, bound: 0},
	{scenario: guest128, measurand: availableFall, relative: true, to: vmagent, bound: 1},
	{scenario: guest128, measurand: lostScrapes, bound: 0},
}

// goalOf returns the goal of a figure, if it has one.
func goalOf(scenario string, m measurand) (goal, bool) {
	i := slices.IndexFunc(goals, func(g goal) bool { return g.scenario == scenario && g.measurand == m })
	if i < 0 {
		return goal{}, false
	}
	return goals[i], true
}

// base is what the goal is a ratio to.
func (g goal) base() string {
	if g.to != "" {
		return g.to
	}
	return lean
}

// met reports whether a value, or a ratio where the goal is one, reaches the goal.
func (g goal) met(value float64) bool {
	if g.atLeast {
		return value >= g.bound
	}
	return value <= g.bound
}

// cell is where a figure belongs.
type cell struct {
	scenario, peer string
	measurand      measurand
}

// results are the figures of all rounds.
type results map[cell][]float64

func (r results) add(scenario, peer string, measured map[measurand]float64) {
	for m, value := range measured {
		c := cell{scenario, peer, m}
		r[c] = append(r[c], value)
	}
}

// value is the median of the rounds; false if none has measured it.
func (r results) value(scenario, peer string, m measurand) (float64, bool) {
	values := r[cell{scenario, peer, m}]
	return median(values), len(values) > 0
}

// ratio is a value in that of prometheus without discoveries; false if there is none.
func (r results) ratio(scenario, peer string, m measurand) (float64, bool) {
	return r.ratioTo(scenario, peer, lean, m)
}

// ratioTo is a value in that of another program; false if there is none.
func (r results) ratioTo(scenario, peer, other string, m measurand) (float64, bool) {
	value, ok := r.value(scenario, peer, m)
	base, measured := r.value(scenario, other, m)
	if !ok || !measured || base == 0 {
		return 0, false
	}
	return value / base, true
}

// median of no values is 0.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	values = slices.Sorted(slices.Values(values))
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}

// spread is the lowest and the highest of the rounds; 0 if there was none.
func (r results) spread(scenario, peer string, m measurand) (low, high float64) {
	values := r[cell{scenario, peer, m}]
	if len(values) == 0 {
		return 0, 0
	}
	return slices.Min(values), slices.Max(values)
}
