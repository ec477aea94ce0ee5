package web

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/redact"
	"github.com/opstrace/opstrace-agent/agent/verdict"
)

// destinationView is one destination as the page shows it.
type destinationView struct {
	delivery.Status
	// Title is the name, or the endpoint's host for one that has none of its own.
	Title  string
	Hour   lastHour
	Level  string        // good, warn or bad
	For    time.Duration // in this state
	Age    time.Duration // of the oldest unsent sample
	ETA    string
	Erring bool // the last answer was an error
	Ledger []ledgerLine
}

// ledgerLine is one account of the ledger, with its parts by reason.
type ledgerLine struct {
	Name, Explain string
	Level         string // "", warn or bad
	Samples       uint64
	Bytes         int64 // instead of samples where they cannot be counted
	Reasons       []reason
}

type reason struct {
	Name    string
	Samples uint64
}

func viewDestination(now time.Time, d delivery.Status, hour lastHour) destinationView {
	v := destinationView{Status: d, Hour: hour, Level: "good", Ledger: viewLedger(d.Ledger, d.Counting)}
	v.LastError, v.Why = redact.Text(d.LastError), redact.Text(d.Why)
	v.Erring = d.Failing()
	v.For = max(0, now.Sub(d.Since))
	if d.OldestUnsent != nil {
		v.Age = max(0, now.Sub(*d.OldestUnsent))
	}
	switch {
	case d.State == delivery.Behind && v.Erring:
		v.Level = "bad"
	case d.State == delivery.Behind || v.Erring:
		v.Level = "warn"
	}
	switch {
	case d.State != delivery.Behind || v.Age < delivery.UpToDate:
	case v.Erring:
		v.ETA = "when it takes samples again"
	case d.ETASeconds < 0:
		v.ETA = "never at this rate"
	case d.ETASeconds > 0:
		v.ETA = "in " + formatDuration(time.Duration(d.ETASeconds*float64(time.Second)))
	}
	return v
}

// judged gives the card the colour of what the verdict says of the destination, where
// that is worse: one that is still live and takes nothing is not well.
func (v *destinationView) judged(all verdict.Verdict) {
	for _, p := range all.Problems {
		if level := sign(p.Level); p.Kind.OfDestination() && p.About == v.Name && severity[level] > severity[v.Level] {
			v.Level = level
		}
	}
}

// HasLosses reports whether samples went where they should not.
func (v destinationView) HasLosses() bool {
	return slices.ContainsFunc(v.Ledger, func(l ledgerLine) bool { return l.Level != "" })
}

func viewLedger(l ledger.Terms, counting bool) []ledgerLine {
	onDisk := "not yet acknowledged"
	if counting {
		onDisk += "; what an earlier run left is still being counted"
	}
	lines := []ledgerLine{
		{Name: "appended", Explain: "scraped and written to disk", Samples: l.Appended},
		{Name: "delivered", Explain: "acknowledged by the endpoint", Samples: l.Delivered},
		{Name: "on disk", Explain: onDisk, Samples: l.OnDisk},
	}
	for _, line := range []ledgerLine{
		{Name: "filtered", Explain: "kept back by the configuration", Reasons: reasons(l.Filtered)},
		{Name: "refused", Explain: "refused for good by the endpoint", Level: "bad", Reasons: reasons(l.Refused)},
		{Name: "uncertain", Explain: "the answer does not tell what became of them", Level: "warn", Reasons: reasons(l.Uncertain)},
		{Name: "evicted", Explain: "deleted unsent, because the storage budget was used up", Level: "bad", Samples: l.Evicted},
		{Name: "lost", Explain: "written to disk, and not found there any more", Level: "bad", Samples: l.Lost},
		{Name: "not appended", Explain: "refused before the disk, because it was full or could not be written", Level: "bad", Samples: l.NotAppended},
		{Name: "rejected", Explain: "not taken by the agent's own storage", Level: "warn", Reasons: reasons(l.Rejected)},
		{Name: "damaged", Explain: "on disk, but unreadable", Level: "bad", Bytes: int64(l.DamagedBytes)},
	} {
		for _, r := range line.Reasons {
			line.Samples += r.Samples
		}
		if line.Samples > 0 || line.Bytes > 0 {
			lines = append(lines, line)
		}
	}
	return lines
}

// reasons with the largest first.
func reasons(m map[string]uint64) []reason {
	list := make([]reason, 0, len(m))
	for name, n := range m {
		list = append(list, reason{name, n})
	}
	slices.SortFunc(list, func(a, b reason) int {
		return cmp.Or(cmp.Compare(b.Samples, a.Samples), strings.Compare(a.Name, b.Name))
	})
	return list
}

// sign is the level of a verdict as the page draws it.
func sign(l verdict.Level) string {
	switch l {
	case verdict.Good, verdict.Note:
		return "good"
	case verdict.Bad:
		return "bad"
	}
	return "warn"
}

var severity = map[string]int{"good": 0, "warn": 1, "bad": 2}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return formatCount(n) + " " + many
}
