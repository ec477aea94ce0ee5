package delivery

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// UpToDate is how old a sample may be that a destination does not have before that is
// worth a word: after an outage it stays behind for a while although it has caught up.
const UpToDate = 10 * time.Second

// Status is a destination's state at one moment.
type Status struct {
	Name string `json:"name"`
	// URL without user, password and query values.
	URL   string    `json:"url"`
	State State     `json:"state"`
	Since time.Time `json:"since"`
	// Why the destination is behind; empty when it is not, or has not been
	// handed over yet in this run and there is nothing else to tell. Where series are
	// left out that the endpoint refuses, it names one, in the endpoint's words.
	Why string `json:"why,omitempty"`
	// LeftOut is how many series the endpoint refuses for what they are, so that
	// their samples are counted as refused without being sent.
	LeftOut int `json:"leftOut,omitempty"`
	// BacklogSamples and BacklogBytes are on disk and not yet acknowledged.
	BacklogSamples uint64 `json:"backlogSamples"`
	BacklogBytes   int64  `json:"backlogBytes"`
	// Counting: what an earlier run appended and did not note is still being
	// counted, so that BacklogSamples and Ledger.Appended are too low.
	Counting bool `json:"counting,omitempty"`
	// OldestUnsent is when the oldest sample was scraped that may not have been
	// acknowledged.
	OldestUnsent *time.Time `json:"oldestUnsent,omitempty"`
	// CatchUpRate is in samples a second; 0 unless behind.
	CatchUpRate float64 `json:"catchUpRate"`
	// ETASeconds until the backlog is drained at today's rates; 0 unless
	// behind and more than a few seconds back, -1 when it does not get smaller.
	ETASeconds  float64    `json:"etaSeconds"`
	LastSuccess *time.Time `json:"lastSuccess,omitempty"`
	// LastError in the endpoint's own words.
	LastError   string     `json:"lastError,omitempty"`
	LastErrorAt *time.Time `json:"lastErrorAt,omitempty"`
	// Ledger adds up to the sample: its terms are of one moment.
	Ledger ledger.Terms `json:"ledger"`
}

// Failing reports whether the last request was not acknowledged.
func (s Status) Failing() bool {
	return s.LastErrorAt != nil && (s.LastSuccess == nil || s.LastErrorAt.After(*s.LastSuccess))
}

func (t *destination) status(terms ledger.Terms, intake float64) Status {
	t.mtx.Lock()
	s := Status{
		Name: t.name, URL: t.endpoint.URL(),
		State: t.machine.state, Since: t.machine.since, Why: t.machine.why,
		LastError: t.lastErr, LastSuccess: moment(t.lastSuccess), LastErrorAt: moment(t.lastErrAt),
	}
	if s.State == Behind && t.leftOut > 0 {
		s.LeftOut = t.leftOut
		if t.episode == "" {
			s.Why = t.whyLeftOut
		}
	}
	if t.noClient != "" {
		s.Why = t.noClient
	}
	drained := t.settled.perSecond()
	t.mtx.Unlock()

	s.Ledger, s.BacklogSamples, s.Counting = terms, terms.OnDisk, t.account.Counting()
	s.BacklogBytes = t.store.Pending(t.account.Mark())
	// A destination that has something to send has read the oldest of it.
	if oldest := t.account.OldestHeld(); oldest > 0 && terms.OnDisk > 0 {
		s.OldestUnsent = moment(time.UnixMilli(oldest))
	}
	if s.State == Behind {
		s.CatchUpRate = drained
		s.ETASeconds = -1
		if gain := drained - intake; gain > 0 {
			s.ETASeconds = float64(s.BacklogSamples) / gain
		}
		// It may stay behind although it has caught up.
		if s.BacklogSamples == 0 || s.OldestUnsent != nil && time.Since(*s.OldestUnsent) < UpToDate {
			s.ETASeconds = 0
		}
	}
	return s
}

// LimitsStatus is what the limits of series are, and what they drop.
type LimitsStatus struct {
	Series uint64 `json:"series"`
	// MaxSeries above which new ones are dropped; 0: no ceiling.
	MaxSeries uint64 `json:"maxSeries"`
	// Memory is the stage of pressure: "relaxed", or what is done because the memory
	// is nearly used up.
	Memory string `json:"memory"`
	// MemorySeconds is how long each stage has been in force in this run.
	MemorySeconds map[string]float64 `json:"memorySeconds"`
	// Skipped targets are not scraped because the memory is nearly used up.
	Skipped []Skipped `json:"skipped,omitempty"`
	// SkippedScrapes in this run.
	SkippedScrapes uint64 `json:"skippedScrapes"`
	// Dropped samples in this run, by reason. They are in the ledgers' term
	// rejected.
	Dropped map[string]uint64 `json:"dropped"`
	// Worst targets, for each reason for which samples are being dropped, or were
	// a few minutes ago. Empty means that all is well.
	Worst map[string][]Offender `json:"worst"`
}

// Skipped is a target that is not scraped for now.
type Skipped struct {
	Job      string    `json:"job"`
	Instance string    `json:"instance"`
	Samples  uint64    `json:"samples"` // that it had last
	Since    time.Time `json:"since"`
}

// Problem says in a sentence or two what is not taken and of whom, the same on the
// page and in the terminal; "" when all is.
func (l *LimitsStatus) Problem() string {
	if l == nil {
		return ""
	}
	problems := []string{}
	if len(l.Skipped) > 0 {
		var names []string
		for _, s := range l.Skipped {
			names = append(names, fmt.Sprintf("%s/%s (%d samples)", cmp.Or(s.Job, "-"), cmp.Or(s.Instance, "-"), s.Samples))
		}
		problems = append(problems, "the memory is nearly used up, not scraped for now: "+strings.Join(names, ", "))
	}
	if dropped := l.droppedOf(); dropped != "" {
		problems = append(problems, dropped)
	}
	return strings.Join(problems, "; ")
}

func (l *LimitsStatus) droppedOf() string {
	if len(l.Worst) == 0 {
		return ""
	}
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(l.Worst)) {
		var names []string
		for _, o := range l.Worst[reason] {
			names = append(names, o.String())
		}
		parts = append(parts, fmt.Sprintf("%s: %s", l.explain(reason), strings.Join(names, ", ")))
	}
	return "series are dropped, most of these targets (samples): " + strings.Join(parts, "; ")
}

func (l *LimitsStatus) explain(reason string) string {
	switch reason {
	case reasonMaxSeries:
		return fmt.Sprintf("new ones above --limits.max-series=%d", l.MaxSeries)
	case reasonMemory:
		return "new ones, because the memory is nearly used up"
	case reasonTooLong:
		return "labels above --limits.label-length"
	case reasonTooMany:
		return "more labels than --limits.labels"
	}
	return reason
}

func (n *newcomers) status() LimitsStatus {
	s := LimitsStatus{MaxSeries: n.limits.MaxSeries, Memory: n.memory.now().String(), MemorySeconds: n.memory.lasted()}
	if n.series != nil {
		s.Series = n.series()
	}
	s.Dropped, s.Worst = n.drops.now()
	return s
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
