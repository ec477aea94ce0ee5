package agent

import (
	"context"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// clockTick is how often the wall clock is compared with the monotonic one.
	clockTick = time.Second
	// clockTolerance is what they may deviate within a tick. Slewing makes less
	// than a tenth of a second of it, and a scrape interval is rarely shorter: what
	// is scraped after a smaller step still has a later time than what was before.
	clockTolerance = 2 * time.Second
)

// plausible is a time before which no clock is right: this program is younger.
// Boxes without a battery-backed clock start in 1970.
var plausible = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// ClockStatus tells of steps of the wall clock. A suspended host looks like one
// whose clock was set forward.
type ClockStatus struct {
	// Steps since the process began.
	Steps int `json:"steps"`
	// LastStep is when the last one was noticed, by the clock after it.
	LastStep time.Time `json:"lastStep"`
	// LastStepSeconds is by how much it was set; negative: back.
	LastStepSeconds float64 `json:"lastStepSeconds"`
	// Recent: it was so short a time ago that somebody should know.
	Recent bool `json:"recent"`
}

// Back reports whether the clock was set back a short time ago; c may be nil.
func (c *ClockStatus) Back() bool { return c != nil && c.Recent && c.LastStepSeconds < 0 }

// By is by how much the clock was set, whatever the direction.
func (c *ClockStatus) By() time.Duration {
	return time.Duration(c.LastStepSeconds * float64(time.Second)).Abs()
}

// recently is how long a step counts as recent.
const recently = 15 * time.Minute

// reading is what both clocks said at one moment.
type reading struct {
	wall      time.Time
	monotonic time.Duration // since some moment in this process
}

// stepBetween returns by how much the wall clock was set between two readings;
// negative: back; 0: not by more than it may deviate.
func stepBetween(before, after reading) time.Duration {
	step := after.wall.Sub(before.wall) - (after.monotonic - before.monotonic)
	if step.Abs() <= clockTolerance {
		return 0
	}
	return step
}

// leap is a step forward after which upstream's scrapes would count the intervals
// that they have missed for longer than an interval; see alignment. The shortest
// usual interval, a second, is counted in less than a tenth of one.
const leap = 60 * 24 * time.Hour

// runBroken says why a run must not go on after the wall clock was set between
// two readings; empty: it may. Its WAL takes nothing that is dated before what it
// holds already. And scrapes that began when the clock was not plausible have
// their times aligned by nobody, while others would be aligned for too long; see
// alignment.
func runBroken(before, after reading, step time.Duration) string {
	switch {
	case step < 0:
		return "the clock was set back"
	case step > 0 && before.wall.Before(plausible) && !after.wall.Before(plausible):
		return "the clock was set for the first time"
	case step > leap:
		return "the clock was set forward by months or years"
	}
	return ""
}

// clock watches the wall clock for the life of an agent.
type clock struct {
	read   func() reading
	logger log.Logger
	steps  *prometheus.CounterVec

	mtx    sync.Mutex
	status *ClockStatus  // of the last step; nil: none
	at     time.Duration // of the last step, monotonic
	// ahead is the latest time that the clock has had, when it is behind that.
	ahead  time.Time
	broken chan string // see runs
}

func newClock(logger log.Logger, read func() reading) *clock {
	c := &clock{
		read: read, logger: logger,
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "opstrace_agent_clock_steps_total",
			Help: "Number of times that the wall clock was set by more than two seconds, by direction. A suspended host counts as set forward.",
		}, []string{"direction"}),
	}
	c.steps.WithLabelValues("back")
	c.steps.WithLabelValues("forward")
	return c
}

// systemClock reads the clocks of the host.
func systemClock() func() reading {
	since := monotonic()
	return func() reading { return reading{wall: time.Now().Round(0), monotonic: since()} }
}

// runs returns where the reason appears for which a run that begins now must be
// begun anew. One channel is in use at a time.
func (c *clock) runs() <-chan string {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	c.broken = make(chan string, 1)
	return c.broken
}

// watch compares the clocks until ctx ends.
func (c *clock) watch(ctx context.Context) {
	tick := time.NewTicker(clockTick)
	defer tick.Stop()
	before := c.read()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		before = c.compare(before)
	}
}

// compare notes a step since a reading, and returns the present one.
func (c *clock) compare(before reading) reading {
	after := c.read()
	if stepBetween(before, after) != 0 {
		// The two clocks are not read at exactly one moment.
		after = c.read()
	}
	if step := stepBetween(before, after); step != 0 {
		c.stepped(before, after, step)
	}
	return after
}

func (c *clock) stepped(before, after reading, step time.Duration) {
	direction, msg := "forward", "The clock was set forward, or the host was suspended"
	if step < 0 {
		direction, msg = "back", "The clock was set back"
	}
	level.Warn(c.logger).Log("msg", msg, "by", step.Abs().Round(time.Millisecond), "now", after.wall.UTC())
	c.steps.WithLabelValues(direction).Inc()
	c.mtx.Lock()
	defer c.mtx.Unlock()
	s := ClockStatus{Steps: 1, LastStep: after.wall, LastStepSeconds: step.Seconds()}
	if c.status != nil {
		s.Steps += c.status.Steps
	}
	c.status, c.at = &s, after.monotonic
	if had := after.wall.Add(-step); step < 0 && had.After(c.ahead) {
		c.ahead = had
	}
	if why := runBroken(before, after, step); why != "" && c.broken != nil {
		select {
		case c.broken <- why:
		default: // one reason is enough
		}
	}
}

// latest is the latest time that the clock has had before it was set back; zero:
// it was not.
func (c *clock) latest() time.Time {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	return c.ahead
}

// last is what the status says; nil: there was no step.
func (c *clock) last() *ClockStatus {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	if c.status == nil {
		return nil
	}
	s := *c.status
	s.Recent = c.read().monotonic-c.at < recently
	return &s
}
