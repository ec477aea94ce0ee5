package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const repository = "../.."

// rules are the parts of .golangci.yml that can be held without golangci-lint:
// which package may import which, and which functions belong to the process.
type rules struct {
	Linters struct {
		Settings struct {
			Depguard struct {
				Rules map[string]depguardRule
			}
			Forbidigo struct {
				Forbid []struct{ Pattern, Msg string }
			}
		}
		Exclusions struct {
			Rules []struct {
				Path, Text string
				Linters    []string
			}
		}
	}
}

type depguardRule struct {
	Files []string
	Deny  []struct{ Pkg, Desc string }
}

func readRules(t *testing.T) *rules {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(repository, ".golangci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	r := &rules{}
	if err := yaml.Unmarshal(content, r); err != nil {
		t.Fatal(err)
	}
	if len(r.Linters.Settings.Depguard.Rules) == 0 || len(r.Linters.Settings.Forbidigo.Forbid) == 0 {
		t.Fatal("no rules in .golangci.yml")
	}
	return r
}

func TestArrows(t *testing.T) {
	r := readRules(t)
	files := 0
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != repository && strings.HasPrefix(d.Name(), "."), d.Name() == "testdata":
			return filepath.SkipDir
		case filepath.Ext(path) != ".go":
			return nil
		}
		files++
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(filepath.ToSlash(path), repository+"/")
		for _, violation := range r.violations(t, name, src) {
			t.Error(violation)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Errorf("only %d files seen", files)
	}
}

// The test must be able to fail.
func TestArrowsFindViolations(t *testing.T) {
	r := readRules(t)
	const module = "github.com/opstrace/opstrace-agent"
	for _, tc := range []struct {
		file, imports, body string
		want                int
	}{
		{"agent/delivery/x.go", module + "/agent", "", 1},
		{"agent/delivery/x.go", module + "/agent/backlog", "", 0},
		{"agent/delivery/x_test.go", module + "/agent", "", 0},
		{"agent/backlog/x.go", module + "/agent/delivery", "", 1},
		{"agent/x.go", module + "/agent/web", "", 1},
		{"agent/x.go", module + "/agent/delivery", "", 0},
		{"agent/web/x.go", module + "/agent", "", 0},
		{"agent/web/x.go", module + "/scrapeconfig", "", 1},
		{"agent/x.go", module + "/agent/agenttest", "", 1},
		{"scrapeconfig/x.go", module + "/agent/delivery", "", 1},
		{"scrapeconfig/x.go", module + "/agent", "", 1},
		{"scrapeconfig/x.go", module + "/agent/redact", "", 0},
		{"agent/redact/x.go", module + "/agent", "", 1},
		{"scrapeconfig/x.go", "log", "", 1},
		{"scrapeconfig/x.go", "log/slog", "", 0},
		{"scrapeconfig/x.go", "os", "os.Exit(1)", 1},
		{"cmd/opstrace-agent/main.go", "os", "os.Exit(1)", 0},
		{"cmd/opstrace-agent/run.go", "os", "os.Exit(1)", 1},
		{"cmd/opstrace-sandbox/x.go", module + "/agent/agenttest", "", 0},
		{"agent/x.go", "fmt", `fmt.Println("x")`, 1},
		{"agent/x.go", "fmt", `fmt.Fprintln(nil, "x")`, 0},
		{"agent/x.go", "net/http", `http.HandleFunc("/", nil)`, 1},
		{"agent/x.go", "github.com/prometheus/client_golang/prometheus", "prometheus.MustRegister()", 1},
	} {
		src := fmt.Sprintf("package x\nimport %q\nfunc f() { %s }\n", tc.imports, tc.body)
		if got := r.violations(t, tc.file, []byte(src)); len(got) != tc.want {
			t.Errorf("%s with %s %s: %q", tc.file, tc.imports, tc.body, got)
		}
	}
}

// violations checks one file; name is relative to the repository.
func (r *rules) violations(t *testing.T, name string, src []byte) []string {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, imp := range file.Imports {
		path, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		for rule, g := range r.Linters.Settings.Depguard.Rules {
			for _, d := range g.Deny {
				if g.covers(name) && denied(d.Pkg, path) {
					found = append(found, fmt.Sprintf("%s imports %s (rule %s): %s", fset.Position(imp.Pos()), path, rule, d.Desc))
				}
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		text := pkg.Name + "." + sel.Sel.Name
		for _, f := range r.Linters.Settings.Forbidigo.Forbid {
			if regexp.MustCompile(f.Pattern).MatchString(text) && !r.excluded(name, text) {
				found = append(found, fmt.Sprintf("%s uses %s: %s", fset.Position(sel.Pos()), text, f.Msg))
			}
		}
		return true
	})
	return found
}

func denied(pkg, path string) bool {
	if exact, ok := strings.CutSuffix(pkg, "$"); ok {
		return path == exact
	}
	return strings.HasPrefix(path, pkg)
}

// covers follows depguard: any pattern, but none of those with an exclamation mark.
func (g depguardRule) covers(name string) bool {
	covered := !slices.ContainsFunc(g.Files, func(p string) bool { return p[0] != '!' })
	for _, p := range g.Files {
		negated := p[0] == '!'
		p = strings.TrimPrefix(p, "!")
		matches := strings.HasSuffix(name, "_test.go")
		if p != "$test" {
			expr := strings.NewReplacer(`\*\*`, ".*", `\*`, "[^/]*").Replace(regexp.QuoteMeta(p))
			matches = regexp.MustCompile("^" + expr + "$").MatchString("/" + name)
		}
		if matches && negated {
			return false
		}
		covered = covered || matches
	}
	return covered
}

func (r *rules) excluded(name, text string) bool {
	for _, e := range r.Linters.Exclusions.Rules {
		if slices.Contains(e.Linters, "forbidigo") && regexp.MustCompile(e.Path).MatchString(name) && regexp.MustCompile(e.Text).MatchString(text) {
			return true
		}
	}
	return false
}
