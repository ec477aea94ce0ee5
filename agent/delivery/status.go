package delivery

import (
	"maps"
	"time"
)

// State is where a destination stands.
type State string

const (
	// Behind: the destination is left out of upstream's configuration, and the
	// drainer ships the backlog to it.
	Behind State = "behind"
	// HandingOver: upstream's queue is being started for it.
	HandingOver State = "handing over"
	// Live: upstream's queue manager tails the WAL and ships.
	Live State = "live"
)

// Status is a destination's state at one moment.
type Status struct {
	Name string `json:"name"`
	// URL without user, password and query values.
	URL   string    `json:"url"`
	State State     `json:"state"`
	Since time.Time `json:"since"`
	// BacklogSamples and BacklogBytes are on disk and not yet acknowledged.
	BacklogSamples uint64 `json:"backlogSamples"`
	BacklogBytes   int64  `json:"backlogBytes"`
	// OldestUnsent is the timestamp of the oldest sample on disk that may not
	// have been acknowledged.
	OldestUnsent *time.Time `json:"oldestUnsent,omitempty"`
	// CatchUpRate is in samples a second; 0 unless behind.
	CatchUpRate float64 `json:"catchUpRate"`
	// ETASeconds until the backlog is drained at today's rates; 0 unless
	// behind, -1 when it does not get smaller.
	ETASeconds  float64    `json:"etaSeconds"`
	LastSuccess *time.Time `json:"lastSuccess,omitempty"`
	// LastError in the endpoint's own words.
	LastError   string     `json:"lastError,omitempty"`
	LastErrorAt *time.Time `json:"lastErrorAt,omitempty"`
	Ledger      Ledger     `json:"ledger"`
}

// Ledger accounts for every sample (float or native histogram) that was
// appended since the destination came into being. Each term is counted by
// itself; Appended equals the sum of Delivered, Refused, Filtered, Evicted,
// Uncertain and OnDisk, except where content was lost that can no longer be
// counted (LostStretches).
type Ledger struct {
	// Appended to the WAL, counted at commit.
	Appended uint64 `json:"appended"`
	// Delivered: acknowledged by the endpoint, or already there.
	Delivered uint64 `json:"delivered"`
	// Refused for good by the endpoint, by reason.
	Refused map[string]uint64 `json:"refused"`
	// Filtered by the configuration: relabelling, native histograms that the
	// destination does not take, sample age limit; by reason.
	Filtered map[string]uint64 `json:"filtered"`
	// Uncertain: the endpoint's answer does not tell what became of it; by reason.
	Uncertain map[string]uint64 `json:"uncertain"`
	// Evicted from disk, unsent, to keep the budget.
	Evicted uint64 `json:"evicted"`
	// NotAppended: refused before the WAL because the disk was full. Not part of Appended.
	NotAppended uint64 `json:"notAppended"`
	// OnDisk: not yet acknowledged; with the few that are in memory only,
	// because they were evicted while they were being sent.
	OnDisk uint64 `json:"onDisk"`
	// DamagedBytes of the WAL that could not be read, and so not be counted in samples.
	DamagedBytes uint64 `json:"damagedBytes"`
	// LostStretches of the WAL were damaged or missing; what was in them cannot
	// be counted in samples.
	LostStretches uint64 `json:"lostStretches"`
}

func (l Ledger) clone() Ledger {
	l.Refused = maps.Clone(l.Refused)
	l.Filtered = maps.Clone(l.Filtered)
	l.Uncertain = maps.Clone(l.Uncertain)
	return l
}

// add counts n samples under a reason in one of the ledger's maps.
func add(m *map[string]uint64, reason string, n uint64) {
	if n == 0 {
		return
	}
	if *m == nil {
		*m = map[string]uint64{}
	}
	(*m)[reason] += n
}
