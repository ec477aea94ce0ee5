package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// clockRig is an agent whose wall clock can be set, between a target and an
// endpoint with the manners of Opstrace, and the clock of the host.
type clockRig struct {
	*running
	clock    *wallClock
	endpoint *agenttest.Endpoint
	targets  *agenttest.Targets
	target   *agenttest.Target
	dir      string
}

func newClockRig(t *testing.T) *clockRig {
	t.Helper()
	r := &clockRig{clock: newWallClock(t), dir: t.TempDir()}
	r.endpoint = newEndpoint(t, agenttest.Options{PlainHTTP: true, Tokens: map[string]string{"default": ""}})
	var err error
	if r.targets, err = agenttest.NewTargets("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.targets.Close)
	r.target = r.targets.Add("a", agenttest.TargetOptions{Series: 10})
	return r
}

func (r *clockRig) configure(t *testing.T, jobs string) (file string) {
	t.Helper()
	return write(t, filepath.Join(r.dir, "c.yml"), fmt.Sprintf("%s\nremote_write:\n- name: one\n  url: %s\n"+
		"  queue_config: {batch_send_deadline: 200ms, min_backoff: 30ms, max_backoff: 200ms}\n", jobs, r.endpoint.URL()))
}

func (r *clockRig) start(t *testing.T, flags ...string) {
	t.Helper()
	file := r.configure(t, "scrape_configs:\n"+r.targets.ScrapeConfig("job", 100*time.Millisecond))
	r.running = start(t, r.clock.env(), append(flags,
		"--config.file="+file, "--storage.agent.path="+filepath.Join(r.dir, "data"), "--web.listen-address=127.0.0.1:0")...)
}

func (r *clockRig) status() agent.Status {
	r.t.Helper()
	var answer struct{ Data agent.Status }
	_, body := r.get("/api/v1/status/delivery")
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		r.t.Fatalf("%v: %s", err, body)
	}
	return answer.Data
}

// ledger of the only destination; zero while a run is being opened.
func (r *clockRig) ledger() ledger.Terms {
	r.t.Helper()
	for _, d := range r.status().Destinations {
		return d.Ledger
	}
	return ledger.Terms{}
}

// awaitAppended waits until the storage has taken a few scrapes more.
func (r *clockRig) awaitAppended() {
	r.t.Helper()
	from := uint64(0)
	r.eventually("there is a ledger", func() bool { from = r.ledger().Appended; return from > 0 || r.status().Ready })
	r.eventually("samples are appended", func() bool { return r.ledger().Appended >= from+100 })
}

// awaitSum ends scraping, and waits until the ledger has a term for every sample.
func (r *clockRig) awaitSum() ledger.Terms {
	r.t.Helper()
	r.configure(r.t, "scrape_configs: []")
	if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusOK {
		r.t.Fatalf("reload: %d %s", code, body)
	}
	var l ledger.Terms
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Logf("the ledger was %+v, and the endpoint held %d", l, r.endpoint.Snapshot().Accepted)
		}
	})
	r.eventually("nothing is on disk", func() bool {
		l = r.ledger()
		return l.Appended > 0 && l.OnDisk == 0
	})
	if l.Appended != l.Sum() {
		r.t.Errorf("appended %d, accounted for %d: %+v", l.Appended, l.Sum(), l)
	}
	// Of a request that is refused in part, the endpoint stores the good samples.
	s := r.endpoint.Snapshot()
	stored, uncertain := uint64(s.Accepted), sumOf(l.Uncertain)
	if stored > l.Delivered+uncertain || l.Delivered > stored+uint64(s.Duplicates) {
		r.t.Errorf("the endpoint holds %d: %+v", stored, l)
	}
	if l.Lost > 0 || l.NotAppended > 0 || l.Evicted > 0 {
		r.t.Errorf("without any trouble but the clock's: %+v", l)
	}
	return l
}

func sumOf(byReason map[string]uint64) (n uint64) {
	for _, m := range byReason {
		n += m
	}
	return n
}

// end stops the agent, which must not have to be forced.
func (r *clockRig) end() {
	r.t.Helper()
	r.signal(syscall.SIGTERM)
	if code, took := r.wait(); code != 0 {
		r.t.Errorf("code %d after %s", code, took)
	}
}

// clockSteps are by how much a clock is set, from what it was before.
var clockSteps = map[string]struct{ from, to time.Duration }{
	"2 h back":       {0, -2 * time.Hour},
	"2 h forward":    {-2 * time.Hour, 0},
	"2 h ahead":      {0, 2 * time.Hour},
	"10 min back":    {0, -10 * time.Minute},
	"10 min forward": {-10 * time.Minute, 0},
	"from 1970":      {-time.Duration(time.Now().UnixNano()), 0},
	"to 1970":        {0, -time.Duration(time.Now().UnixNano()) + time.Hour},
	// Where a time.Time has no reading of the monotonic clock.
	"from 2170":          {144 * 365 * 24 * time.Hour, 0},
	"from 1970 to ahead": {-time.Duration(time.Now().UnixNano()), 5 * time.Minute},
}

// TestClockSteps: whatever the clock does while the agent runs, samples are
// appended again at once, the ledger has a term for each, what happened is told,
// and the agent stops when it is told to.
func TestClockSteps(t *testing.T) {
	t.Parallel()
	for name, step := range clockSteps {
		for _, state := range []string{"live", "behind"} {
			t.Run(name+", "+state, func(t *testing.T) {
				t.Parallel()
				r := newClockRig(t)
				r.clock.set(step.from)
				r.start(t, "--clock.max-wait=0s")
				r.awaitLog(`msg="Live: `)
				r.awaitAppended()
				if state == "behind" {
					r.endpoint.Respond(agenttest.Answer{Status: http.StatusUnauthorized, Body: "bad authentication token"})
					r.eventually("the destination is behind", func() bool { return r.status().Destinations[0].State == delivery.Behind })
					r.awaitAppended()
				}

				r.clock.set(step.to)
				r.eventually("the step is noticed", func() bool { return r.status().Clock != nil })
				c := r.status().Clock
				if by := (step.to - step.from).Seconds(); c.Steps != 1 || c.LastStepSeconds < by-1 || c.LastStepSeconds > by+1 {
					t.Errorf("a step of %.0f s is shown as %+v", by, c)
				}
				r.awaitAppended()
				direction := "forward"
				if step.to < step.from {
					direction = "back"
				}
				if got := r.metric(`opstrace_agent_clock_steps_total{direction="` + direction + `"}`); got != "1" {
					t.Errorf("the metric is %q", got)
				}
				said := `msg="The clock was set ` + direction
				r.awaitLog(said)
				if n := strings.Count(r.log.String(), said); n != 1 {
					t.Errorf("the log tells of it %d times", n)
				}
				r.endpoint.Recover()
				r.awaitSum()
				r.end()
			})
		}
	}
}

// TestClockStepsBackAndForth: the storage takes samples after each step, and what
// an endpoint refuses for those that it got before is refused, and not "there".
func TestClockStepsBackAndForth(t *testing.T) {
	t.Parallel()
	r := newClockRig(t)
	r.start(t)
	r.awaitAppended()
	for i, by := range []time.Duration{2 * time.Hour, 0, -10 * time.Minute, 0} {
		r.clock.set(by)
		r.eventually("the step is noticed", func() bool { c := r.status().Clock; return c != nil && c.Steps == i+1 })
		r.awaitAppended()
	}
	l := r.awaitSum()
	if sumOf(l.Refused)+sumOf(l.Uncertain) == 0 {
		t.Errorf("nothing was refused: %+v", l)
	}
	r.end()
}

// TestClockStepsWhileStopped: an agent waits at its start for a clock that lies
// before a time which it has had, even if that was before a step back; but not for
// ever, and not at every start.
func TestClockStepsWhileStopped(t *testing.T) {
	t.Parallel()
	for name, step := range clockSteps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const waits = `msg="The clock lies before a time that has passed; waiting`
			r := newClockRig(t)
			r.clock.set(step.from)
			r.start(t, "--clock.max-wait=0s")
			r.awaitAppended()
			r.end()
			r.clock.set(step.to)
			r.start(t, "--clock.max-wait=1s")
			r.awaitAppended()
			if waited := strings.Contains(r.log.String(), waits); waited != (step.to < step.from) {
				t.Errorf("waited: %t", waited)
			}
			r.end()
			r.start(t, "--clock.max-wait=1s")
			r.awaitAppended()
			// In 1970, no clock is right.
			if waited := strings.Contains(r.log.String(), waits); waited != (name == "to 1970") {
				t.Errorf("waited again: %t", waited)
			}
			r.awaitSum()
			r.end()
		})
	}
}

// TestClockIsAwaitedAfterAStepBack: what delivery.json says is the latest time.
func TestClockIsAwaitedAfterAStepBack(t *testing.T) {
	t.Parallel()
	r := newClockRig(t)
	r.start(t)
	r.awaitAppended()
	r.clock.set(-2 * time.Hour)
	r.eventually("the step is noticed", func() bool { return r.status().Clock != nil })
	r.awaitAppended()
	r.end()
	r.clock.set(-time.Hour)
	r.start(t, "--clock.max-wait=1s")
	r.awaitLog("waiting for it before scraping")
	r.awaitAppended()
	r.awaitSum()
	r.end()
}

// TestClockStepToAnotherCentury: upstream's scrapes count the intervals to there
// one by one, which takes minutes. The agent scrapes on all the same, and stops, in
// order.
func TestClockStepToAnotherCentury(t *testing.T) {
	t.Parallel()
	for name, goesOn := range map[string]bool{"scrapes on": true, "stops": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Where the step is noticed before the next scrape is due, none counts.
			for range 10 {
				if stepToAnotherCentury(t, goesOn) {
					return
				}
			}
			t.Error("the scrapes did end each time: this test shows nothing")
		})
	}
}

// stepToAnotherCentury reports whether scrapes were left behind.
func stepToAnotherCentury(t *testing.T, goesOn bool) bool {
	t.Helper()
	r := newClockRig(t)
	r.start(t)
	r.awaitAppended()
	r.clock.set(75 * 365 * 24 * time.Hour)
	r.eventually("the step is noticed", func() bool { return r.status().Clock != nil })
	if goesOn {
		r.awaitLog(`msg="Beginning a new run`)
		r.awaitAppended()
		r.awaitSum()
	}
	r.end()
	return strings.Contains(r.log.String(), "Scrapes do not end; leaving them behind")
}
