package verdict

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// section returns the rows of the table below a heading of the page on troubleshooting,
// each as its cells.
func section(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	b, err := os.ReadFile("../../packaging/doc/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "\n## "+heading+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	for _, row := range regexp.MustCompile("(?m)^\\| (`.+) \\|$").FindAllStringSubmatch(text, -1) {
		rows = append(rows, strings.Split(row[1], " | "))
	}
	return rows
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

// TestTroubleshooting: the documents have every kind of problem, in the order of the
// code, with the levels that it may have and the words that it is told in.
func TestTroubleshooting(t *testing.T) {
	t.Parallel()
	told := map[Kind][]Problem{}
	for _, c := range judgements() {
		f := wellFacts()
		c.change(&f, &f.Destinations[0])
		for _, p := range Judge(f).Problems {
			told[p.Kind] = append(told[p.Kind], p)
		}
	}
	rows := section(t, "What the agent says, and what to do")
	var documented []Kind
	for _, cells := range rows {
		if len(cells) != 4 {
			t.Fatalf("%d cells in %q", len(cells), cells)
		}
		kind := Kind(strings.Trim(cells[0], "`"))
		documented = append(documented, kind)
		levels := strings.Split(cells[1], ", ")
		var patterns []*regexp.Regexp
		for _, words := range codeSpan.FindAllStringSubmatch(cells[2], -1) {
			pattern := strings.ReplaceAll(regexp.QuoteMeta(words[1]), "…", ".*")
			patterns = append(patterns, regexp.MustCompile("^"+pattern+"$"))
		}
		if len(told[kind]) == 0 {
			t.Errorf("no case tells of %s", kind)
		}
		for _, p := range told[kind] {
			if !slices.Contains(levels, string(p.Level)) {
				t.Errorf("%s is %s: %q", kind, p.Level, p.Text)
			}
			if !slices.ContainsFunc(patterns, func(r *regexp.Regexp) bool { return r.MatchString(p.Text) }) {
				t.Errorf("%s says %q, which the documents do not have", kind, p.Text)
			}
		}
		for _, r := range patterns {
			if !slices.ContainsFunc(told[kind], func(p Problem) bool { return r.MatchString(p.Text) }) {
				t.Errorf("%s never says %s", kind, r)
			}
		}
	}
	if !slices.Equal(documented, Kinds()) {
		t.Errorf("documented are\n%q\nthere are\n%q", documented, Kinds())
	}
}

// TestHintsInDocuments: the documents have every hint, behind words for which it is
// given.
func TestHintsInDocuments(t *testing.T) {
	t.Parallel()
	rows := section(t, "What an endpoint says, and what it means")
	documented := map[string]bool{}
	for _, cells := range rows {
		if len(cells) != 2 {
			t.Fatalf("%d cells in %q", len(cells), cells)
		}
		documented[cells[1]] = true
		hintFor := HintFor
		if strings.Contains(cells[0], ", of one that took samples in this run") {
			hintFor = func(words string) string {
				return hintOf(Destination{Status: delivery.Status{LastError: words, LastSuccess: before(time.Second)}})
			}
		}
		for _, words := range codeSpan.FindAllStringSubmatch(cells[0], -1) {
			if got := hintFor(words[1]); got != cells[1] {
				t.Errorf("for %q the hint is %q", words[1], got)
			}
		}
	}
	for _, h := range hints() {
		if !documented[h.hint] {
			t.Errorf("the documents lack %q", h.hint)
		}
	}
	for _, hint := range worked {
		if !documented[hint] {
			t.Errorf("the documents lack %q", hint)
		}
	}
}

// TestTimesInDocuments: the times of the verdict are those that the documents tell.
func TestTimesInDocuments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ page, want string }{
		{"monitoring.md", fmt.Sprintf("at most %.0f seconds", confirmWithin.Seconds())},
		{"monitoring.md", fmt.Sprintf("counts for %.0f minutes", Window.Minutes())},
		{"troubleshooting.md", fmt.Sprintf("wait for %.0f seconds", confirmWithin.Seconds())},
	} {
		b, err := os.ReadFile("../../packaging/doc/" + c.page)
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(strings.Fields(string(b)), " "); !strings.Contains(text, c.want) {
			t.Errorf("%s does not say %q", c.page, c.want)
		}
	}
}
