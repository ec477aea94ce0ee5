package status

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/number"
	"github.com/opstrace/opstrace-agent/agent/receive"
	"github.com/opstrace/opstrace-agent/agent/redact"
	"github.com/opstrace/opstrace-agent/agent/verdict"
)

// maxWords is how many characters of somebody else's words are shown.
const maxWords = 300

// maxFailing is how many targets are listed that are down.
const maxFailing = 20

// Print writes the view for a person. It has nothing to say about an agent that
// is unreachable.
func (v *View) Print(w io.Writer, now time.Time) error {
	var b strings.Builder
	if v.Verdict.Headline != "" {
		fmt.Fprintf(&b, "%s\n", redact.Line(v.Verdict.Headline, 2*maxWords))
	}
	fmt.Fprintf(&b, "%s, up for %s\n", v.Health, number.Duration(now.Sub(v.Started)))
	for _, p := range v.Verdict.Problems {
		printProblem(&b, p, now)
	}
	for _, d := range v.Destinations {
		printDestination(&b, d, now)
	}
	for _, k := range v.Kept {
		printKept(&b, k, now)
	}
	s := v.Storage
	b.WriteString("\nstorage\n")
	line(&b, "on disk", fmt.Sprintf("%s of at most %s", number.Bytes(s.Bytes), number.Bytes(s.MaxBytes)))
	line(&b, "free", fmt.Sprintf("%s, of which %s are left alone", number.Bytes(s.FreeBytes), number.Bytes(s.MinFreeBytes)))
	series := number.Group(s.ActiveSeries)
	if v.Limits != nil && v.Limits.MaxSeries > 0 {
		series += " of at most " + number.Group(v.Limits.MaxSeries)
	}
	line(&b, "series", series)
	if v.ForgottenSamples > 0 {
		line(&b, "forgotten", number.Group(v.ForgottenSamples)+" samples, with destinations that were gone from the configuration")
	}
	if c := v.Clock; c != nil {
		direction := "forward"
		if c.LastStepSeconds < 0 {
			direction = "back"
		}
		line(&b, "clock", fmt.Sprintf("set %s by %s, %s", direction, number.Duration(c.By()), ago(c.LastStep, now)))
	}
	if v.Targets != nil {
		v.Targets.print(&b, now)
	}
	printSenders(&b, v.Senders, now)
	_, err := io.WriteString(w, b.String())
	return err
}

// maxSenders is how many senders are listed.
const maxSenders = 20

// printSenders lists who was heard of last first.
func printSenders(b *strings.Builder, all []receive.Sender, now time.Time) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "\nsenders: %d\n", len(all))
	all = slices.SortedStableFunc(slices.Values(all), func(x, y receive.Sender) int { return y.Last.Compare(x.Last) })
	for i, s := range all {
		if i == maxSenders {
			fmt.Fprintf(b, "  and %d more\n", len(all)-maxSenders)
			break
		}
		name := strings.Join(slices.DeleteFunc([]string{s.Job, s.Instance, s.Address}, func(s string) bool { return s == "" }), " ")
		text := number.Group(s.Samples) + " samples"
		if s.Rejected > 0 {
			text += ", " + number.Group(s.Rejected) + " rejected"
		}
		if s.Declined > 0 {
			text += fmt.Sprintf(", %s of %s requests not taken as a whole", number.Group(s.Declined), number.Group(s.Requests))
		}
		fmt.Fprintf(b, "  %s  %s\n    %s: %s\n", redact.Line(name, maxWords), s.Protocol, ago(s.Last, now), text)
		if s.LastError != "" {
			fmt.Fprintf(b, "    last error: %s\n", redact.Line(s.LastError, maxWords))
		}
	}
}

// printProblem leaves out how long it has been so where that is not worth a word.
func printProblem(b *strings.Builder, p verdict.Problem, now time.Time) {
	fmt.Fprintf(b, "  %s: %s", p.Level, redact.Line(p.Text, 2*maxWords))
	if lasted := now.Sub(p.Since); lasted >= time.Minute {
		fmt.Fprintf(b, " (for %s)", number.Duration(lasted))
	}
	b.WriteString("\n")
	if p.Hint != "" {
		fmt.Fprintf(b, "    hint: %s\n", redact.Line(p.Hint, 2*maxWords))
	}
}

func line(b *strings.Builder, name, text string) {
	fmt.Fprintf(b, "  %-13s %s\n", name, text)
}

func printDestination(b *strings.Builder, d delivery.Status, now time.Time) {
	fmt.Fprintf(b, "\n%s: %s for %s\n", redact.Line(d.Name, maxWords), d.State, number.Duration(now.Sub(d.Since)))
	line(b, "url", redact.Line(d.URL, maxWords))
	if d.State == delivery.Behind && d.Why != "" {
		line(b, "why", redact.Line(d.Why, 2*maxWords))
	}
	if d.BacklogSamples > 0 {
		text := waiting(d.BacklogSamples, d.BacklogBytes)
		if d.OldestUnsent != nil {
			text += ", the oldest from " + ago(*d.OldestUnsent, now)
		}
		line(b, "to send", text)
	}
	switch {
	case d.ETASeconds > 0:
		line(b, "done in", fmt.Sprintf("%s, at %s samples a second",
			number.Duration(time.Duration(d.ETASeconds*float64(time.Second))), number.Group(uint64(d.CatchUpRate))))
	case d.ETASeconds < 0:
		line(b, "done in", "unknown: the backlog does not get smaller")
	}
	if d.LastSuccess != nil {
		line(b, "last success", ago(*d.LastSuccess, now))
	}
	if d.LastErrorAt != nil {
		over := ""
		if !d.Failing() {
			over = ", over since"
		}
		line(b, "last error", fmt.Sprintf("%s%s: %s", ago(*d.LastErrorAt, now), over, redact.Line(d.LastError, maxWords)))
	}
	if d.Counting {
		line(b, "counting", "what an earlier run left: appended and on disk are more than this")
	}
	printLedger(b, d.Ledger)
}

// waiting leaves the bytes out where they are not known yet: those of the segment being
// written are looked at now and then.
func waiting(samples uint64, bytes int64) string {
	text := number.Group(samples) + " samples"
	if bytes > 0 {
		text += ", " + number.Bytes(bytes)
	}
	return text
}

// printKept tells of a destination that is gone from the configuration.
func printKept(b *strings.Builder, k delivery.Kept, now time.Time) {
	const day = "2006-01-02 15:04 MST"
	fmt.Fprintf(b, "\n%s: gone from the configuration, kept for %s, until %s\n",
		redact.Line(k.Name, maxWords), number.Duration(now.Sub(k.Since)), k.Until.UTC().Format(day))
	line(b, "url", redact.Line(k.URL, maxWords))
	line(b, "to send", waiting(k.BacklogSamples, k.BacklogBytes))
	line(b, "drop it", "opstrace-agent forget "+redact.Line(k.Name, maxWords))
	printLedger(b, k.Ledger)
}

// printLedger leaves out what is zero.
func printLedger(b *strings.Builder, l ledger.Terms) {
	for _, term := range []struct {
		name     string
		samples  uint64
		byReason map[string]uint64
	}{
		{"appended", l.Appended, nil},
		{"delivered", l.Delivered, nil},
		{"on disk", l.OnDisk, nil},
		{"refused", ledger.Total(l.Refused), l.Refused},
		{"filtered", ledger.Total(l.Filtered), l.Filtered},
		{"uncertain", ledger.Total(l.Uncertain), l.Uncertain},
		{"evicted", l.Evicted, nil},
		{"lost", l.Lost, nil},
		{"not appended", l.NotAppended, nil},
		{"rejected", ledger.Total(l.Rejected), l.Rejected},
	} {
		if term.samples == 0 {
			continue
		}
		text := number.Group(term.samples) + " samples"
		if term.samples == 1 {
			text = "1 sample"
		}
		if len(term.byReason) > 0 {
			text += " (" + reasons(term.byReason) + ")"
		}
		line(b, term.name, text)
	}
	if l.DamagedBytes > 0 {
		line(b, "damaged", number.Bytes(int64(l.DamagedBytes)))
	}
	if l.LostStretches > 0 {
		line(b, "unreadable", number.Count(int(l.LostStretches), "part")+" of the WAL")
	}
}

// reasons are the largest first.
func reasons(byReason map[string]uint64) string {
	names := slices.Sorted(maps.Keys(byReason))
	slices.SortStableFunc(names, func(a, b string) int {
		switch x, y := byReason[a], byReason[b]; {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	var parts []string
	for _, n := range names {
		parts = append(parts, fmt.Sprintf("%s: %s", redact.Line(n, maxWords), number.Group(byReason[n])))
	}
	return strings.Join(parts, ", ")
}

func (t *Targets) print(b *strings.Builder, now time.Time) {
	parts := []string{fmt.Sprintf("%d up", t.Up)}
	if t.Down > 0 {
		parts = append(parts, fmt.Sprintf("%d down", t.Down))
	}
	if t.Unknown > 0 {
		parts = append(parts, fmt.Sprintf("%d not scraped yet", t.Unknown))
	}
	fmt.Fprintf(b, "\ntargets: %s\n", strings.Join(parts, ", "))
	for i, f := range t.Failing {
		if i == maxFailing {
			fmt.Fprintf(b, "  and %d more\n", len(t.Failing)-maxFailing)
			break
		}
		fmt.Fprintf(b, "  %s  %s\n    %s: %s\n", redact.Line(f.ScrapePool, maxWords), redact.Line(f.ScrapeURL, maxWords),
			ago(f.LastScrape, now), redact.Line(f.LastError, maxWords))
	}
}

func ago(t, now time.Time) string {
	if d := now.Sub(t); d >= 2*time.Second {
		return number.Duration(d) + " ago"
	}
	return "just now"
}
