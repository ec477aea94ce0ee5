// Package status asks a running agent how it is, over its HTTP API, and prints what
// it says.
package status

import (
	"time"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/receive"
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
	// Senders are the programs that have sent samples.
	Senders []receive.Sender `json:"senders,omitempty"`
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

// judge takes over the agent's own verdict.
func (v *View) judge() {
	v.Health, v.Problems = Healthy, []string{}
	if v.Verdict.Headline == "" {
		v.Health, v.Problems = Degraded, []string{"the agent does not say how it is: it is of an older version than this command"}
		return
	}
	switch {
	case !v.Verdict.Level.Well():
		v.Health = Degraded
	case !v.Ready: // it has begun to stop between two answers
		v.Health, v.Problems = Degraded, []string{"Not scraping: " + v.Waiting}
	}
	for _, p := range v.Verdict.Problems {
		v.Problems = append(v.Problems, p.Text)
	}
}
