// Package status asks a running agent how it is, over its HTTP API, and judges
// the answer.
package status

import (
	"fmt"
	"regexp"
	"time"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/number"
	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/human"
)

// Health of an agent.
type Health string

const (
	Healthy     Health = "healthy"
	Degraded    Health = "degraded" // Problems say why
	Unreachable Health = "unreachable"
)

// View is what is known of an agent. Its JSON form is stable: fields are added
// and never change their meaning.
type View struct {
	URL      string   `json:"url"` // that was asked, without user and password
	Health   Health   `json:"health"`
	Problems []string `json:"problems"`
	// The rest is missing if the agent is unreachable.
	*agent.Status
	Targets *Targets `json:"targets,omitempty"` // missing until the agent is ready
}

// Targets counts what is scraped.
type Targets struct {
	Up      int      `json:"up"`
	Down    int      `json:"down"`
	Unknown int      `json:"unknown"` // not scraped yet
	Failing []Target `json:"failing"` // those that are down
}

// Target is one that is down, as in /api/v1/targets.
type Target struct {
	ScrapePool string    `json:"scrapePool"`
	ScrapeURL  string    `json:"scrapeUrl"`
	LastError  string    `json:"lastError"`
	LastScrape time.Time `json:"lastScrape"`
}

// recently is how long a refusal counts.
const recently = 15 * time.Minute

// nearlyFull is the part of the budget from which on eviction is to be
// expected: the oldest data goes by whole segments.
const nearlyFull = 0.9

// judge finds everything that somebody should look at.
func (v *View) judge(now time.Time) {
	v.Health, v.Problems = Healthy, []string{}
	if !v.Ready {
		v.problem("not scraping yet: %s", v.Waiting)
	}
	switch {
	case v.Storage.Unwritable != "":
		v.problem("the disk cannot be written, new samples are refused: %s", human.Line(v.Storage.Unwritable, maxWords))
	case v.Storage.Refusing:
		v.problem("the disk is full: new samples are refused")
	}
	if p := v.Limits.Problem(); p != "" {
		v.problem("%s", p)
	}
	if v.Clock.Back() {
		v.problem("the clock was set back by %s: an endpoint may refuse samples until it has caught up", human.Duration(v.Clock.By()))
	}
	if v.Ready && len(v.Destinations) == 0 {
		v.problem("no destination is configured: nothing is sent")
	}
	for _, j := range v.StoppedJobs {
		v.problem("the scrape job %s is left out: %s", j.Job, human.Line(j.Err, maxWords))
	}
	for _, l := range v.MissingLogs {
		v.problem("scrapes that fail are not logged to %s: %s", human.Line(l.File, maxWords), human.Line(l.Err, maxWords))
	}
	for _, d := range v.Destinations {
		v.judgeDestination(d, now)
	}
	for _, k := range v.Kept {
		v.problem("%s is gone from the configuration: %s samples are kept for it", k.Name, number.Group(k.BacklogSamples))
	}
	if v.Targets != nil && v.Targets.Down > 0 {
		all := v.Targets.Up + v.Targets.Down + v.Targets.Unknown
		verb := "are"
		if v.Targets.Down == 1 {
			verb = "is"
		}
		v.problem("%d of %s %s down", v.Targets.Down, human.Count(all, "target"), verb)
	}
}

// refusedForGood are a receiver's answers after which samples are given up. Those
// that something else gives in its place do not begin like this.
var refusedForGood = regexp.MustCompile(`^server returned HTTP status (400|422)\b`)

func (v *View) judgeDestination(d delivery.Status, now time.Time) {
	words := human.Line(d.LastError, maxWords)
	if d.State == delivery.Behind && failing(d) {
		v.problem("%s takes nothing: %s", d.Name, words)
	}
	if d.LeftOut > 0 {
		v.problem("%s refuses %s series for good: %s", d.Name, number.Group(uint64(d.LeftOut)), human.Line(d.Why, 2*maxWords))
	} else if refusedForGood.MatchString(d.LastError) && d.LastErrorAt != nil && now.Sub(*d.LastErrorAt) < recently {
		switch {
		case total(d.Ledger.Refused) > 0:
			v.problem("%s refused samples for good: %s", d.Name, words)
		case total(d.Ledger.Uncertain) > 0: // of a live batch; the words name one series
			v.problem("%s refused a part of a batch for good, nobody knows how much: %s", d.Name, words)
		}
	}
	if d.State == delivery.Behind && d.Ledger.Evicted > 0 && float64(v.Storage.Bytes) >= nearlyFull*float64(v.Storage.MaxBytes) {
		v.problem("the backlog of %s is full: the oldest samples are given up", d.Name)
	}
}

func (v *View) problem(format string, args ...any) {
	v.Health = Degraded
	v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
}

// failing reports whether the last attempt failed. While an endpoint is catching
// up, being behind is no problem.
func failing(d delivery.Status) bool {
	return d.LastErrorAt != nil && (d.LastSuccess == nil || d.LastErrorAt.After(*d.LastSuccess))
}

func total(byReason map[string]uint64) (n uint64) {
	for _, samples := range byReason {
		n += samples
	}
	return n
}
