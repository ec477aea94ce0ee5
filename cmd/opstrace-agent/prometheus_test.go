package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// Every flag of Prometheus must be a flag here, or be in one of the tables: what
// Prometheus refuses in agent mode is refused, everything else is accepted.
func TestPrometheusFlags(t *testing.T) {
	upstream := parseUpstreamMain(t)
	flags := upstreamFlags(upstream)
	if len(flags) < 60 {
		t.Fatalf("only %d flags found in Prometheus", len(flags))
	}
	app := newCLI(nil, nil).app
	refused := map[string]bool{}
	for _, f := range refusedFlags {
		refused[f.name] = true
	}
	internal := []string{"write-documentation"}
	for name, f := range flags {
		if slices.Contains(internal, name) {
			continue
		}
		own := app.GetCommand("run").GetFlag(name)
		if own == nil {
			t.Errorf("--%s is unknown", name)
			continue
		}
		if refused[name] != f.serverOnly {
			t.Errorf("--%s: refused %v, in Prometheus server-only %v", name, refused[name], f.serverOnly)
		}
		if got := own.Model().IsBoolFlag(); got != f.isBool {
			t.Errorf("--%s takes no value: %v here, %v in Prometheus", name, got, f.isBool)
		}
	}
}

func TestPrometheusFeatures(t *testing.T) {
	known := append(featureNames(), serverFeatures...)
	known = append(known, slices.Collect(maps.Keys(ignoredFeatures))...)
	known = append(known, slices.Collect(maps.Keys(flagFeatures))...)
	known = append(known, autoReloadFeature, "created-timestamp-zero-ingestion")
	names := upstreamFeatures(parseUpstreamMain(t))
	if len(names) < 25 {
		t.Fatalf("only %d features found in Prometheus", len(names))
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			t.Errorf("%s is unknown", name)
		}
	}
	for _, name := range featureNames() {
		if !slices.Contains(names, name) {
			t.Errorf("Prometheus has no feature %s", name)
		}
	}
}

// The command line of a Prometheus agent as it is, with what the packages and
// roles of distributions add.
func TestPrometheusCommandLine(t *testing.T) {
	c := newCLI(nil, nil)
	run := c.app.GetCommand("run")
	for _, args := range [][]string{
		{"--agent", "--config.file=prometheus.yml", "--storage.agent.path=data", "--web.listen-address=:9090"},
		{"--agent", "--config.file", "prometheus.yml", "--storage.agent.path", "data", "--web.listen-address", "0.0.0.0:9090", "--web.listen-address=[::1]:9090"},
		{
			"--config.file=/etc/prometheus/prometheus.yml", "--enable-feature=agent", "--storage.agent.path=/data",
			"--web.console.templates=/etc/prometheus/consoles", "--web.console.libraries=/etc/prometheus/console_libraries",
			"--web.external-url=http://h/prometheus/", "--web.route-prefix=/", "--web.enable-lifecycle",
			"--storage.agent.retention.max-time=4h", "--storage.remote.flush-deadline=1m", "--no-storage.agent.wal-compression",
			"--storage.agent.wal-truncate-frequency=2h", "--storage.agent.wal-segment-size=100MB", "--log.format=json",
		},
	} {
		if _, err := c.app.ParseContext(args); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
	if got := run.GetFlag("web.listen-address").Model().Default; !slices.Equal(got, []string{"127.0.0.1:9095"}) {
		t.Errorf("listens on %q by default", got)
	}
}

func parseUpstreamMain(t *testing.T) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(upstreamDir(t), "cmd/prometheus/main.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// upstreamDir is where the sources are of the Prometheus that is built in.
func upstreamDir(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/prometheus/prometheus").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(out))
}

type upstreamFlag struct{ serverOnly, isBool bool }

// upstreamFlags finds a.Flag("x", …), serverOnlyFlag(a, "x", …) and
// agentOnlyFlag(a, "x", …) with what is chained behind them.
func upstreamFlags(file *ast.File) map[string]upstreamFlag {
	// promslog adds these two.
	flags := map[string]upstreamFlag{"log.level": {}, "log.format": {}}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		isBool := false
		for c := call; ; {
			if name, serverOnly, ok := flagDefinition(c); ok {
				f := flags[name]
				flags[name] = upstreamFlag{f.serverOnly || serverOnly, f.isBool || isBool}
				return true
			}
			sel, ok := c.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			isBool = isBool || sel.Sel.Name == "BoolVar" || sel.Sel.Name == "Bool"
			if c, ok = sel.X.(*ast.CallExpr); !ok {
				return true
			}
		}
	})
	return flags
}

func flagDefinition(call *ast.CallExpr) (name string, serverOnly, ok bool) {
	arg := 0
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		if x, isIdent := f.X.(*ast.Ident); f.Sel.Name != "Flag" || !isIdent || x.Name != "a" {
			return "", false, false
		}
	case *ast.Ident:
		if f.Name != "serverOnlyFlag" && f.Name != "agentOnlyFlag" {
			return "", false, false
		}
		arg, serverOnly = 1, f.Name == "serverOnlyFlag"
	default:
		return "", false, false
	}
	lit, isLit := call.Args[arg].(*ast.BasicLit)
	if !isLit {
		return "", false, false
	}
	name, err := strconv.Unquote(lit.Value)
	return name, serverOnly, err == nil
}

// upstreamFeatures are the cases of setFeatureListOptions.
func upstreamFeatures(file *ast.File) []string {
	var names []string
	for _, d := range file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Name.Name != "setFeatureListOptions" {
			continue
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			if c, ok := n.(*ast.CaseClause); ok {
				for _, e := range c.List {
					if lit, ok := e.(*ast.BasicLit); ok {
						if name, err := strconv.Unquote(lit.Value); err == nil {
							names = append(names, name)
						}
					}
				}
			}
			return true
		})
	}
	return names
}
