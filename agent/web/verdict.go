package web

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/number"
	"github.com/opstrace/opstrace-agent/agent/redact"
)

// destinationView is one destination as the page shows it.
type destinationView struct {
	delivery.Status
	Hour lastHour
	// Kind is the state as a person would put it: live, behind or handing over;
	// and failing or retrying when the last answer was an error.
	Kind   string
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
	v := destinationView{Status: d, Hour: hour, Kind: string(d.State), Level: "good", Ledger: viewLedger(d.Ledger, d.Counting)}
	v.LastError, v.Why = redact.Text(d.LastError), redact.Text(d.Why)
	v.Erring = d.LastErrorAt != nil && (d.LastSuccess == nil || d.LastErrorAt.After(*d.LastSuccess))
	v.For = max(0, now.Sub(d.Since))
	if d.OldestUnsent != nil {
		v.Age = max(0, now.Sub(*d.OldestUnsent))
	}
	switch {
	case d.State == delivery.Behind && v.Erring:
		v.Kind, v.Level = "failing", "bad"
	case d.State == delivery.Behind:
		v.Level = "warn"
	case v.Erring:
		v.Kind, v.Level = "retrying", "warn"
	}
	switch {
	case d.State != delivery.Behind || v.Age < upToDate:
	case v.Erring:
		v.ETA = "when it answers again"
	case d.ETASeconds < 0:
		v.ETA = "never at this rate"
	case d.ETASeconds > 0:
		v.ETA = "in " + formatDuration(time.Duration(d.ETASeconds*float64(time.Second)))
	}
	return v
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

// upToDate is how old a sample may be that a destination does not have, while
// it is behind, before that is worth a word: after an outage it stays behind for
// a while although it has caught up.
const upToDate = 10 * time.Second

// verdict is the answer to the first question: does it work?
type verdict struct {
	Level string // good, warn or bad
	Title string
	Lines []string
}

var severity = map[string]int{"good": 0, "warn": 1, "bad": 2}

// judge finds everything that needs a person; the worst becomes the title.
func judge(st agent.Status, destinations []destinationView, n targetCounts) verdict {
	type finding struct{ level, title, line string }
	var found []finding
	note := func(level, title, line string) { found = append(found, finding{level, title, line}) }
	if !st.Ready {
		note("warn", "Not scraping yet", "Waiting: "+cmp.Or(st.Waiting, "starting"))
	}
	switch {
	case st.Storage.Unwritable != "":
		note("bad", "The disk cannot be written", "New samples are refused until it can, what is on disk is delivered: "+st.Storage.Unwritable+".")
	case st.Storage.Refusing:
		note("bad", "The disk is full", "New samples are refused until there is room.")
	}
	if p := st.Limits.Problem(); p != "" {
		note("warn", "Series are dropped", redact.Text(strings.ToUpper(p[:1])+p[1:]+"."))
	}
	if st.Clock.Back() {
		note("warn", "The clock was set back", fmt.Sprintf("It was set by %s. An endpoint may refuse samples until it has caught up.", formatDuration(st.Clock.By())))
	}
	for _, d := range destinations {
		switch {
		case d.Kind == "failing" && d.OldestUnsent == nil:
			note("bad", "Not delivering to "+d.Name, d.Name+" gets nothing: what is scraped is kept on disk.")
		case d.Kind == "failing":
			note("bad", "Not delivering to "+d.Name, fmt.Sprintf("%s does not take samples: they are kept on disk, the oldest for %s.", d.Name, formatDuration(d.Age)))
		case d.Kind == "retrying":
			note("warn", "Trouble with "+d.Name, d.Name+" answered with an error; the agent tries again.")
		case d.State == delivery.Behind && d.Age >= upToDate:
			note("warn", "Catching up", fmt.Sprintf("%s gets the backlog of %s: done %s.", d.Name, formatDuration(d.Age), cmp.Or(d.ETA, "soon")))
		}
		if d.LeftOut > 0 {
			note("warn", "Series are refused", fmt.Sprintf("%s refuses %s for what they are. Those are left out, all others are delivered.", d.Name, plural(d.LeftOut, "series", "series")))
		}
		if d.Hour.Lost > 0 {
			note("warn", "Samples were lost", fmt.Sprintf("%s samples for %s were, or may have been, refused or deleted unsent in the last hour.", number.Group(d.Hour.Lost), d.Name))
		}
	}
	for _, j := range st.StoppedJobs {
		note("warn", "A scrape job is left out", fmt.Sprintf("%s is not scraped: %s", j.Job, redact.Text(j.Err)))
	}
	for _, l := range st.MissingLogs {
		note("warn", "A log of failed scrapes is missing", fmt.Sprintf("Scrapes that fail are not logged to %s: %s", l.File, redact.Text(l.Err)))
	}
	for _, k := range st.Kept {
		note("warn", k.Name+" is gone", fmt.Sprintf("The configuration does not name %s any more: %s samples are kept for it until %s.", k.Name, number.Group(k.BacklogSamples), formatStamp(k.Until)))
	}
	if st.Ready && len(destinations) == 0 {
		note("warn", "Nowhere to deliver to", "The configuration has no remote_write and no opstrace block.")
	}
	if n.Down > 0 {
		note("warn", fmt.Sprintf("%d of %d targets down", n.Down, n.Active()), plural(n.Down, "target does", "targets do")+" not answer as it should.")
	}
	if st.Ready && n.Active() == 0 {
		note("warn", "No targets", "Nothing is scraped: service discovery found no targets, or relabelling dropped all.")
	}
	if len(found) == 0 {
		return verdict{"good", "All is well", []string{fmt.Sprintf("%s up to date, %s up.",
			plural(len(destinations), "destination", "destinations"), plural(n.Up, "target", "targets"))}}
	}
	slices.SortStableFunc(found, func(a, b finding) int { return severity[b.level] - severity[a.level] })
	v := verdict{Level: found[0].level, Title: found[0].title}
	for _, f := range found {
		v.Lines = append(v.Lines, f.line)
	}
	return v
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return formatCount(n) + " " + many
}
