package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestStepBetween(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.November, 27, 12, 0, 0, 0, time.UTC)
	epoch := time.Unix(5, 0)
	for name, tc := range map[string]struct {
		before, after time.Time
		passed        time.Duration // by the monotonic clock
		step          time.Duration
		broken        string
	}{
		"nothing":               {now, now.Add(time.Second), time.Second, 0, ""},
		"a tick that came late": {now, now.Add(time.Minute), time.Minute, 0, ""},
		"slewed":                {now, now.Add(1083 * time.Millisecond), time.Second, 0, ""},
		"tolerated, back":       {now, now.Add(-time.Second), time.Second, 0, ""},
		"tolerated, forward":    {now, now.Add(3 * time.Second), time.Second, 0, ""},
		"back":                  {now, now.Add(-1500 * time.Millisecond), time.Second, -2500 * time.Millisecond, "the clock was set back"},
		"2 h back":              {now, now.Add(-2 * time.Hour), time.Second, -2*time.Hour - time.Second, "the clock was set back"},
		"2 h forward":           {now, now.Add(2 * time.Hour), time.Second, 2*time.Hour - time.Second, ""},
		"suspended for a night": {now, now.Add(8 * time.Hour), time.Millisecond, 8*time.Hour - time.Millisecond, ""},
		"suspended for a month": {now, now.Add(30 * 24 * time.Hour), time.Millisecond, 30*24*time.Hour - time.Millisecond, ""},
		"to another century":    {now, now.Add(75 * 365 * 24 * time.Hour), 0, 75 * 365 * 24 * time.Hour, "the clock was set forward by months or years"},
		"to 1970":               {now, epoch, time.Second, epoch.Sub(now) - time.Second, "the clock was set back"},
		"from 1970":             {epoch, now, time.Second, now.Sub(epoch) - time.Second, "the clock was set for the first time"},
		"within 1970":           {epoch, epoch.Add(time.Hour), time.Second, time.Hour - time.Second, ""},
	} {
		before, after := reading{tc.before, time.Hour}, reading{tc.after, time.Hour + tc.passed}
		step := stepBetween(before, after)
		if step != tc.step {
			t.Errorf("%s: %s, expected %s", name, step, tc.step)
		}
		if why := runBroken(before, after, step); why != tc.broken {
			t.Errorf("%s: a run is broken by %q, expected %q", name, why, tc.broken)
		}
	}
}

// TestClock: each step is told once, everywhere; and only a step back, or the
// first to a time that can be, ends a run.
func TestClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.November, 27, 12, 0, 0, 0, time.UTC)
	at := reading{wall: now}
	pass := func(wall, monotonic time.Duration) {
		at = reading{at.wall.Add(wall), at.monotonic + monotonic}
	}
	var logged strings.Builder
	c := newClock(log.NewLogfmtLogger(&logged), func() reading { return at })
	runs := c.runs()
	before := c.compare(at)
	look := func(wall, monotonic time.Duration) { pass(wall, monotonic); before = c.compare(before) }
	broken := func() string {
		select {
		case why := <-runs:
			return why
		default:
			return ""
		}
	}

	look(time.Second, time.Second)
	if c.last() != nil || logged.Len() > 0 || !c.latest().IsZero() {
		t.Errorf("a step out of nothing: %+v, %q", c.last(), &logged)
	}
	look(time.Hour+time.Second, time.Second)
	look(time.Second, time.Second)
	if s := c.last(); s == nil || s.Steps != 1 || s.LastStepSeconds != 3600 || !s.LastStep.Equal(now.Add(time.Hour+2*time.Second)) {
		t.Errorf("forward: %+v", s)
	}
	look(recently, recently)
	if s := c.last(); s.Recent || s.Back() {
		t.Errorf("recent after %s: %+v", recently, s)
	}
	look(-recently, -recently)
	if why := broken(); why != "" {
		t.Errorf("a step forward ends the run: %s", why)
	}
	look(-2*time.Hour, 0)
	look(-time.Hour, 0)
	look(time.Second, time.Second)
	if s := c.last(); s.Steps != 3 || s.LastStepSeconds != -3600 || !s.Back() || s.By() != time.Hour {
		t.Errorf("back: %+v", s)
	}
	if why := broken(); why != "the clock was set back" {
		t.Errorf("a step back ends the run for %q", why)
	}
	if why := broken(); why != "" {
		t.Errorf("a run is ended twice: %s", why)
	}
	if want := now.Add(time.Hour + 3*time.Second); !c.latest().Equal(want) {
		t.Errorf("the latest time was %s, is said to be %s", want, c.latest())
	}
	if n := strings.Count(logged.String(), "\n"); n != 3 || !strings.Contains(logged.String(), `level=warn msg="The clock was set back" by=2h0m0s now=2026-11-27T11:00:03Z`) {
		t.Errorf("logged %d times:\n%s", n, &logged)
	}
	for direction, want := range map[string]float64{"back": 2, "forward": 1} {
		if got := testutil.ToFloat64(c.steps.WithLabelValues(direction)); got != want {
			t.Errorf("%v steps %s, expected %v", got, direction, want)
		}
	}
}
