package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// report is all there is to say.
type report struct {
	machine   machine
	plan      plan
	peers     []peer
	missing   []error // programs that could not be built
	failed    []error // runs
	results   results
	loadAfter string // average
}

// notMeasured are goals that need more than this program has.
const notMeasured = "Not measured here: the fall of MemAvailable in a guest of 128 MB (make bench-guest), memory limits of systemd (make test-systemd PARTS=memory-long), and an outage with the page open."

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The agent beside its peers\n\n%s.\n", r.machine)
	fmt.Fprintf(&b, "Load averages %s before and %s after, with what else ran on the machine. ", r.machine.loadBefore, r.loadAfter)
	if r.plan.rounds == 1 {
		b.WriteString("One round: look at ratios, not at digits.\n\n")
	} else {
		fmt.Fprintf(&b, "Medians of %d rounds, every other in the opposite order; in brackets the lowest and the highest.\n\n", r.plan.rounds)
	}
	for _, p := range r.peers {
		fmt.Fprintf(&b, "- %s: %s, %s MB\n", p.name, p.what, binarySize(p.binary))
	}
	for _, err := range r.missing {
		fmt.Fprintf(&b, "- %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	b.WriteString("\nRemote write 1.0 over plain HTTP; bytes are of compressed bodies. In parentheses the ratio to P.\n")
	for _, s := range r.plan.scenarios {
		r.table(&b, s)
	}
	if len(r.failed) > 0 {
		b.WriteString("\n## What went wrong\n\n")
		for _, err := range r.failed {
			fmt.Fprintf(&b, "- %s\n", strings.ReplaceAll(err.Error(), "\n", "\n  "))
		}
	}
	if !r.plan.guest() {
		fmt.Fprintf(&b, "\n%s\n", notMeasured)
	}
	return b.String()
}

// binarySize is in MB, as in the README.
func binarySize(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "?"
	}
	return strconv.FormatFloat(float64(info.Size())/1e6, 'f', 1, 64)
}

// table has a row for everything that was measured of somebody.
func (r *report) table(b *strings.Builder, s scenario) {
	head := []string{""}
	for _, p := range r.peers {
		head = append(head, p.name)
	}
	rows := [][]string{append(head, "goal")}
	for _, m := range measurands {
		row, any := []string{string(m)}, false
		for _, p := range r.peers {
			text := r.figure(s.name, p.name, m)
			row, any = append(row, text), any || text != missingFigure
		}
		if any {
			rows = append(rows, append(row, r.verdict(s, m)))
		}
	}
	fmt.Fprintf(b, "\n## %s\n\n", s.title())
	if len(rows) == 1 {
		b.WriteString("Nothing was measured.\n")
		return
	}
	writeTable(b, rows)
}

func (s scenario) title() string {
	title := s.name
	if s.outage > 0 {
		title += fmt.Sprintf(", and an outage of %s", s.outage)
	}
	return title
}

// missingFigure stands for what was not measured.
const missingFigure = "–"

// withoutRatio are figures of which none says anything.
var withoutRatio = []measurand{outageGrowth, backlogDisk, oldSamples, lostScrapes, slabRise}

// figure is a value, its spread and its ratio.
func (r *report) figure(scenario, peer string, m measurand) string {
	value, ok := r.results.value(scenario, peer, m)
	if !ok {
		return missingFigure
	}
	text := digits(value)
	if low, high := r.results.spread(scenario, peer, m); digits(low) != digits(high) {
		text += " [" + digits(low) + "–" + digits(high) + "]"
	}
	if ratio, ok := r.results.ratio(scenario, peer, m); ok && peer != lean && !slices.Contains(withoutRatio, m) {
		text += " (" + strconv.FormatFloat(ratio, 'f', 2, 64) + ")"
	}
	return text
}

// verdict is the goal of a row, and whether the agent reaches it.
func (r *report) verdict(s scenario, m measurand) string {
	g, ok := goalOf(s.name, m)
	if !ok {
		return ""
	}
	text, value := "≤ ", 0.0
	if g.atLeast {
		text = "≥ "
	}
	if g.relative {
		text += strconv.FormatFloat(g.bound, 'f', 2, 64) + " of " + g.base()
		value, ok = r.results.ratioTo(s.name, agent, g.base(), m)
	} else {
		text += digits(g.bound)
		value, ok = r.results.value(s.name, agent, m)
	}
	switch {
	case s.outage < g.outage:
		return text + fmt.Sprintf(" after %s: not measured", g.outage)
	case !ok:
		return text + ": not measured"
	case g.met(value):
		return text + ": met"
	default:
		return text + ": missed"
	}
}

// digits is a number with three of them, or all before the point.
func digits(value float64) string {
	switch size := math.Abs(value); {
	case size >= 100 || value == math.Trunc(value):
		return grouped(int64(math.Round(value)))
	case size >= 10:
		return strconv.FormatFloat(value, 'f', 1, 64)
	case size >= 1:
		return strconv.FormatFloat(value, 'f', 2, 64)
	default:
		return strconv.FormatFloat(value, 'f', 3, 64)
	}
}

// grouped is a number with a comma at every thousand.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(text) - 3; i > first; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// writeTable writes rows in columns of one width each, which Markdown does not need
// and the terminal does.
func writeTable(b *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], len([]rune(text)))
		}
	}
	line := func(row []string, fill string) {
		for i, width := range widths {
			text := ""
			if row != nil {
				text = row[i]
			}
			b.WriteString("| " + text + strings.Repeat(fill, width-len([]rune(text))) + " ")
		}
		b.WriteString("|\n")
	}
	line(rows[0], " ")
	line(nil, "-")
	for _, row := range rows[1:] {
		line(row, " ")
	}
}
