package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocumentLinks: every link leads somewhere, and a page's to pages beside it.
func TestDocumentLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, d := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(d.text, ""), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			if d.path != "README.md" && strings.Contains(target, "/") {
				t.Errorf("%s: %s is not beside it where it is installed", d.path, target)
			}
			path := filepath.Join(repository, filepath.Dir(d.path), target)
			if target == "" {
				path = filepath.Join(repository, d.path)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Errorf("%s: %s", d.path, err)
			} else if anchor != "" && !slices.Contains(anchors(string(b)), anchor) {
				t.Errorf("%s: %s has no heading #%s", d.path, target, anchor)
			}
		}
	}
}

// TestReadme: the README is short, and leads to every page.
func TestReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join(repository, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(readme), "\n"); lines >= 250 {
		t.Errorf("it has %d lines: what not everybody needs belongs to a page", lines)
	}
	for _, d := range documents(t) {
		if d.path != "README.md" && !strings.Contains(string(readme), "("+d.path+")") {
			t.Errorf("it does not lead to %s", d.path)
		}
	}
}

// anchors are what links call the headings of a text.
func anchors(text string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		plain := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(plain, " ", "-"))
	}
	return all
}

// TestDocumentFiles: every file of the repository and every target of make that is named
// is there, and every package of the code is named.
func TestDocumentFiles(t *testing.T) {
	t.Parallel()
	makefile := ""
	for _, name := range []string{"Makefile", "packaging/packaging.mk"} {
		b, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil {
			t.Fatal(err)
		}
		makefile += "\n" + string(b)
	}
	file := regexp.MustCompile(`^(?:packaging|agent|cmd|scrapeconfig|systemd|\.ci)(?:/[\w./-]+)?$`)
	target := regexp.MustCompile(`^make ([a-z][a-z-]*)((?: [A-Z_]+=\S+)*)`)
	files, targets := map[string]bool{}, map[string]bool{}
	for _, d := range documents(t) {
		for _, line := range d.code() {
			if file.MatchString(line) {
				files[line] = true
				if _, err := os.Stat(filepath.Join(repository, line)); err != nil {
					t.Errorf("%s: %s", d.path, err)
				}
			}
			m := target.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			targets[m[1]] = true
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).MatchString(makefile) {
				t.Errorf("%s: there is no make %s", d.path, m[1])
			}
			for _, variable := range strings.Fields(m[2]) {
				if name, _, _ := strings.Cut(variable, "="); !strings.Contains(makefile, "$("+name+")") && !strings.Contains(makefile, "ifdef "+name) {
					t.Errorf("%s: make knows no %s", d.path, name)
				}
			}
		}
	}
	if len(files) < 15 || len(targets) < 12 {
		t.Errorf("only %d files and %d targets found", len(files), len(targets))
	}
	for name := range arrows {
		parent, _, inside := strings.Cut(name, "/internal/")
		if !files[name] && !(inside && files[parent+"/internal"]) && !strings.HasPrefix(name, "packaging/") && !strings.HasPrefix(name, ".ci/") {
			t.Errorf("no document names the package %s", name)
		}
	}
}

// TestDocumentTests: every test that is named is there, and each row of the tables of
// what is delivered and of who can do what names one.
func TestDocumentTests(t *testing.T) {
	t.Parallel()
	there := testsInTree(t)
	for _, d := range documents(t) {
		for _, line := range d.code() {
			name, _, _ := strings.Cut(line, "/")
			if regexp.MustCompile(`^Test[A-Z]\w*$`).MatchString(name) && !there[name] {
				t.Errorf("%s: %s is not there", d.path, name)
			}
		}
	}
	everyRowNamesATest(t, "delivery.md", "What happens to samples", 40)
	everyRowNamesATest(t, "security.md", "Who can do what", 15)
}

// everyRowNamesATest looks at the table of a section, which has at least so many rows.
// Of what root may do there is nothing to test.
func everyRowNamesATest(t *testing.T, document, section string, least int) {
	t.Helper()
	_, text, _ := strings.Cut(page(t, document), "\n## "+section+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	_, table, _ := strings.Cut(text, "\n|--")
	rows := 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		rows++
		if !regexp.MustCompile("`Test[A-Za-z0-9]+[`/]").MatchString(line) && !strings.HasPrefix(line, "| root ") {
			t.Errorf("%s: no test holds this row: %s", document, line)
		}
	}
	if rows < least {
		t.Errorf("%s: only %d rows found", document, rows)
	}
}

// testsInTree returns the names of all tests.
func testsInTree(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(repository, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(b, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestDocumentVersions: the documents name the Prometheus that is built in, and the Go
// that it takes.
func TestDocumentVersions(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile(filepath.Join(repository, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	prometheus := regexp.MustCompile(`(?m)^\s*github\.com/prometheus/prometheus v0\.(\d)(\d\d)\.(\d+)$`).FindSubmatch(mod)
	golang := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	if prometheus == nil || golang == nil {
		t.Fatal("go.mod names no Prometheus or no Go")
	}
	major, minor := string(prometheus[1]), strings.TrimPrefix(string(prometheus[2]), "0")
	want := fmt.Sprintf("Prometheus %s.%s is built in (the Go module v0.%s%s.%s)", major, minor, prometheus[1], prometheus[2], prometheus[3])
	named := map[string]int{}
	for _, d := range documents(t) {
		text := strings.Join(strings.Fields(d.text), " ")
		if d.path == "README.md" && !strings.Contains(text, want) {
			t.Errorf("the README does not say %q", want)
		}
		for _, m := range regexp.MustCompile(`the Go module (v0\.\d+\.\d+)`).FindAllStringSubmatch(text, -1) {
			named[m[1]]++
		}
		for _, m := range regexp.MustCompile(`Go (1\.\d+)`).FindAllStringSubmatch(text, -1) {
			if m[1] != string(golang[1]) {
				t.Errorf("%s: Go %s instead of %s", d.path, m[1], golang[1])
			}
		}
	}
	if version := fmt.Sprintf("v0.%s%s.%s", prometheus[1], prometheus[2], prometheus[3]); len(named) != 1 || named[version] == 0 {
		t.Errorf("Prometheus is %s, the documents say %v", version, slices.Collect(maps.Keys(named)))
	}
}
