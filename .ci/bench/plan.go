package main

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// scenario is what one program goes through, from an empty directory.
type scenario struct {
	name     string
	series   int
	interval time.Duration // of scrapes
	churn    bool          // a tenth of the series are others after ten minutes
	warm     time.Duration // from ready to the window
	window   time.Duration // a multiple of the interval, so that it has whole scrapes
	outage   time.Duration // after the window; 0 is none
	backlog  int64         // bytes on disk to stop and start with, after the window; 0 is none
	guest    bool          // in an emulated machine, whose script has the times; warm is about what it takes
}

// fillTimeout is how long a backlog may take to reach its size.
const fillTimeout = 10 * time.Minute

// plan is what is measured, how often, and with whom, by name.
type plan struct {
	rounds    int
	scenarios []scenario
	peers     []string
}

// The names of scenarios, which the goals are tied to.
const (
	idle     = "idle: no target"
	tiny     = "1,000 series every 15 s"
	small    = "10,000 series every 5 s"
	large    = "100,000 series every 5 s"
	churning = ", a tenth new in 10 minutes"
	backlogs = "200 MB of backlog, 100,000 series every 1 s"
	guest128 = tiny + ", in a guest of 128 MB"
)

var fullPlan = plan{
	rounds: 3,
	scenarios: []scenario{
		{name: idle, interval: 15 * time.Second, warm: 30 * time.Second, window: time.Minute},
		{name: tiny, series: 1000, interval: 15 * time.Second, warm: 31 * time.Second, window: 2 * time.Minute},
		{name: small, series: 10_000, interval: 5 * time.Second, warm: 31 * time.Second, window: time.Minute, outage: 10 * time.Minute},
		{name: large, series: 100_000, interval: 5 * time.Second, warm: 31 * time.Second, window: time.Minute},
		{name: tiny + churning, series: 1000, interval: 15 * time.Second, churn: true, warm: 5 * time.Minute, window: 2 * time.Minute},
		{name: small + churning, series: 10_000, interval: 5 * time.Second, churn: true, warm: 5 * time.Minute, window: time.Minute},
		{name: large + churning, series: 100_000, interval: 5 * time.Second, churn: true, warm: 5 * time.Minute, window: time.Minute},
		{name: backlogs, series: 100_000, interval: time.Second, warm: 11 * time.Second, window: 10 * time.Second, backlog: 200e6},
	},
	peers: []string{agent, lean, standard, vmagent},
}

// quickPlan is for a look in between, in five minutes with the three that matter most.
var quickPlan = plan{
	rounds: 1,
	scenarios: []scenario{
		{name: idle, interval: 15 * time.Second, warm: 3 * time.Second, window: 10 * time.Second},
		{name: tiny, series: 1000, interval: 15 * time.Second, warm: 16 * time.Second, window: 15 * time.Second},
		{name: small, series: 10_000, interval: 5 * time.Second, warm: 6 * time.Second, window: 15 * time.Second, outage: 30 * time.Second},
	},
	peers: []string{agent, lean, vmagent},
}

// profilePlan is for CPU profiles of what the agent does all day, in scrapes that follow
// each other so fast that a profile has thousands of looks.
var profilePlan = plan{
	rounds: 1,
	scenarios: []scenario{
		{name: "10,000 series every 1 s", series: 10_000, interval: time.Second, warm: 11 * time.Second, window: 2 * time.Minute},
		{name: "100,000 series every 1 s", series: 100_000, interval: time.Second, warm: 11 * time.Second, window: 2 * time.Minute},
	},
	peers: []string{agent},
}

// guestPlan is what is really missing on a small host. One at a time, for the emulator
// takes a core while it boots.
var guestPlan = plan{
	rounds:    3,
	scenarios: []scenario{{name: guest128, series: 1000, interval: 15 * time.Second, guest: true, warm: 11 * time.Minute}},
	peers:     []string{agent, lean, vmagent},
}

// guest reports whether the plan needs an emulated machine.
func (p plan) guest() bool {
	return slices.ContainsFunc(p.scenarios, func(s scenario) bool { return s.guest })
}

// only is the plan without what the names do not match.
func (p plan) only(scenarios, peers *regexp.Regexp) plan {
	p.scenarios = slices.DeleteFunc(slices.Clone(p.scenarios), func(s scenario) bool { return !scenarios.MatchString(s.name) })
	p.peers = slices.DeleteFunc(slices.Clone(p.peers), func(name string) bool { return !peers.MatchString(name) })
	return p
}

// duration is about how long the plan takes with n peers.
func (p plan) duration(n int) (all time.Duration) {
	for _, s := range p.scenarios {
		all += s.warm + s.window + s.outage + 2*time.Second
		if s.outage > 0 {
			all += caughtUpAfter(s)
		}
		if s.backlog > 0 {
			all += fillTimeout/2 + caughtUpAfter(s) // half, for it stops when the disk has enough
		}
	}
	return all * time.Duration(p.rounds*n)
}

// longestPause is how long no old sample may come while some are missing: longer than
// senders wait between two attempts after a long outage.
const longestPause = time.Minute

// caughtUpAfter is how long no old sample may come until all are taken to be there,
// where some of each scrape are.
func caughtUpAfter(s scenario) time.Duration { return max(2*s.interval, 10*time.Second) }

// inTurn is the order of a round: every other one is the other way round, so that
// nobody always comes after the same one.
func inTurn[T any](all []T, round int) []T {
	all = slices.Clone(all)
	if round%2 == 1 {
		slices.Reverse(all)
	}
	return all
}

// maxTargets share the series of a scenario.
const maxTargets = 10

// fake is a target to be.
type fake struct {
	name   string
	series int // gauges; a counter comes with them
	churn  int // series of each scrape that no other has
}

// fakes are the targets of a scenario, which together show so many series.
func (s scenario) fakes() []fake {
	if s.series == 0 {
		return nil
	}
	churn := 0
	if s.churn {
		churn = int(math.Round(float64(s.series) / 10 * s.interval.Seconds() / (10 * time.Minute).Seconds()))
	}
	all := make([]fake, maxTargets)
	for i := range all {
		all[i] = fake{
			name:   "t" + strconv.Itoa(i),
			series: share(s.series, i) - 1 - share(churn, i),
			churn:  share(churn, i),
		}
	}
	return all
}

// share is the i-th of maxTargets parts of n that differ by one at most.
func share(n, i int) int { return n*(i+1)/maxTargets - n*i/maxTargets }
