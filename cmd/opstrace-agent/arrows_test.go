package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	repository = "../.."
	module     = "github.com/opstrace/opstrace-agent/"
)

// arrows has every package of this module, with those of the others that it may
// import: they point from cmd to agent/web, agent, agent/delivery, its parts and
// agent/backlog, and from cmd to scrapeconfig. An entry that ends with "/..."
// stands for a package and all below. Tests may import what they like.
var arrows = map[string][]string{
	"cmd/opstrace-agent": {
		"agent", "agent/delivery/...", "agent/limits", "agent/number", "agent/pulse", "agent/receive", "agent/redact", "agent/regular", "agent/verdict", "agent/web", "scrapeconfig/...", "cmd/opstrace-agent/internal/...",
	},
	"cmd/opstrace-agent/internal/configcheck": {"agent/delivery/selection", "agent/redact", "cmd/opstrace-agent/internal/tenantlabel", "scrapeconfig"},
	"cmd/opstrace-agent/internal/golden":      nil,
	"cmd/opstrace-agent/internal/newconfig":   {"scrapeconfig"},
	"cmd/opstrace-agent/internal/pushcheck":   {"agent/delivery/remotewrite", "agent/delivery/selection", "agent/number", "agent/redact", "agent/regular", "agent/verdict"},
	"cmd/opstrace-agent/internal/status":      {"agent", "agent/verdict", "agent/delivery/...", "agent/number", "agent/receive", "agent/redact"},
	"cmd/opstrace-agent/internal/targetcheck": {"agent/delivery/remotewrite", "agent/delivery/selection", "agent/hostmetrics", "agent/limits", "agent/redact", "cmd/opstrace-agent/internal/tenantlabel"},
	"cmd/opstrace-agent/internal/tenantlabel": nil,

	// The admin face shows what the agent's status says, and reads no files of its own.
	"agent/web":         {"agent", "agent/delivery/...", "agent/number", "agent/pulse", "agent/receive", "agent/redact", "agent/verdict"},
	"agent/web/browser": nil,

	"agent": {"agent/backlog", "agent/delivery/...", "agent/hostmetrics", "agent/limits", "agent/pulse", "agent/redact", "agent/regular", "agent/seldom", "agent/switching", "agent/verdict"},

	// Where samples go to is handed to it.
	"agent/receive": {"agent/delivery", "agent/seldom"},

	// A judgement of facts, without looking for any.
	"agent/verdict": {"agent/delivery/...", "agent/number", "agent/redact"},

	"agent/delivery":               {"agent/backlog", "agent/delivery/...", "agent/limits", "agent/pulse", "agent/redact"},
	"agent/delivery/ledger":        {"agent/backlog", "agent/regular"},
	"agent/delivery/remotewrite":   {"agent/redact", "agent/regular", "agent/switching"},
	"agent/delivery/selection":     {"agent/backlog", "agent/delivery/remotewrite"},
	"agent/delivery/upstreamqueue": {"agent/seldom"},

	// Who is sent what is decided above: here are files and records only.
	"agent/backlog": {"agent/number", "agent/pulse"},

	// Numbers only: who holds to them is decided by who uses it.
	"agent/limits": nil,

	// What passes between the configuration and the agent is upstream's *config.Config.
	"scrapeconfig":         {"agent/hostmetrics", "agent/number", "agent/redact", "agent/regular", "scrapeconfig/similar"},
	"scrapeconfig/similar": nil,

	// It knows node_exporter, and nothing of the agent.
	"agent/hostmetrics": {"agent/seldom"},

	// Whoever shows or logs something uses these, so they use nobody.
	"agent/number": nil,
	"agent/redact": nil,
	"agent/seldom": nil,

	// Whoever looks at something from time to time uses this.
	"agent/pulse": nil,

	// Whoever reads a file that an operator names uses this.
	"agent/regular": nil,

	// Whoever asks somebody by HTTP uses this.
	"agent/switching": nil,

	// A fake that used the code under test would agree with its mistakes; and it
	// is for tests, the sandbox and the benchmark only.
	"agent/agenttest":         nil,
	"agent/agenttest/cutdisk": nil,
	"cmd/opstrace-sandbox":    {"agent/agenttest"},

	"packaging":            nil,
	"packaging/licenses":   nil,
	"packaging/provenance": nil,
	"packaging/sbom":       nil,
	".ci/demo":             {"agent/delivery/ledger", "agent/number", "agent/redact"},

	// It judges the binary from outside: what it knows of the agent is what the agent writes.
	".ci/torture": {"agent/agenttest", "agent/agenttest/cutdisk", "agent/delivery/ledger"},

	// It measures binaries, ours as the others'.
	".ci/bench": {"agent/agenttest"},

	// It runs many agents in its process.
	".ci/fleet": {"agent", "agent/agenttest", "agent/delivery", "agent/delivery/ledger"},
}

// Which files may use what belongs to the process, by a pattern of their names.
var (
	nowhere  = regexp.MustCompile(`^$`)
	mains    = regexp.MustCompile(`^(cmd/[^/]+|packaging/(?:licenses|provenance|sbom)|\.ci/(?:bench|demo|fleet|torture))/main\.go$`)
	commands = regexp.MustCompile(`^(cmd|packaging|\.ci)/`)
	flagged  = regexp.MustCompile(`^(cmd|packaging|\.ci|agent/hostmetrics)/`) // node_exporter's collectors have no options but flags
)

// reserved are imports, and names behind an import, that are not for everyone.
var reserved = []struct {
	what    *regexp.Regexp
	allowed *regexp.Regexp
	why     string
}{
	{regexp.MustCompile(`^github\.com/alecthomas/kingpin`), flagged, "flags belong to the process; a package takes options"},
	{regexp.MustCompile(`^log$`), commands, "the log goes through github.com/go-kit/log, with a level and a component"},
	{regexp.MustCompile(`^fmt\.Print(|f|ln)$`), commands, "standard output belongs to the command"},
	{regexp.MustCompile(`^os\.Exit$`), mains, "only main ends the process; everything else returns an error"},
	{regexp.MustCompile(`^prometheus\.(DefaultRegisterer|DefaultGatherer|Register|MustRegister|Unregister)$`), commands, "an agent can run twice in one process; take a registerer"},
	{regexp.MustCompile(`^promauto\.New`), nowhere, "it registers on the default registry; use promauto.With"},
	{regexp.MustCompile(`^http\.(DefaultServeMux|Handle|HandleFunc|ListenAndServe|ListenAndServeTLS)$`), nowhere, "the global mux is open to every imported package; use agent/web"},
}

func TestArrows(t *testing.T) {
	files := 0
	err := filepath.WalkDir(repository, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(filepath.ToSlash(file), repository+"/")
		switch {
		case d.IsDir() && slices.Contains([]string{".git", "bin", "dist", "packaging/lean"}, name), d.Name() == "testdata":
			return filepath.SkipDir
		case path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		files++
		src, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, v := range violations(t, name, src) {
			t.Error(v)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("only %d files seen", files)
	}
}

// The test must be able to fail.
func TestArrowsFindViolations(t *testing.T) {
	for _, tc := range []struct {
		file, imports, body string
		want                int
	}{
		{"agent/delivery/x.go", module + "agent", "", 1},
		{"agent/delivery/x.go", module + "agent/backlog", "", 0},
		{"agent/delivery/x.go", module + "agent/delivery/ledger", "", 0},
		{"agent/delivery/ledger/x.go", module + "agent/delivery", "", 1},
		{"agent/delivery/unheardof/x.go", "fmt", "", 1},
		{"agent/backlog/x.go", module + "agent/delivery", "", 1},
		{"agent/x.go", module + "agent/web", "", 1},
		{"agent/x.go", module + "agent/delivery", "", 0},
		{"agent/web/x.go", module + "agent", "", 0},
		{"agent/web/x.go", module + "agent/backlog", "", 1},
		{"agent/web/x.go", module + "scrapeconfig", "", 1},
		{"agent/x.go", module + "agent/agenttest", "", 1},
		{"scrapeconfig/x.go", module + "agent/delivery", "", 1},
		{"scrapeconfig/x.go", module + "agent", "", 1},
		{"scrapeconfig/x.go", module + "agent/redact", "", 0},
		{"scrapeconfig/x.go", module + "cmd/opstrace-agent/internal/status", "", 1},
		{"agent/redact/x.go", module + "agent", "", 1},
		{"scrapeconfig/x.go", "log", "", 1},
		{"scrapeconfig/x.go", "log/slog", "", 0},
		{"scrapeconfig/x.go", "github.com/alecthomas/kingpin/v2", "", 1},
		{"scrapeconfig/x.go", "os", "os.Exit(1)", 1},
		{"cmd/opstrace-agent/main.go", "os", "os.Exit(1)", 0},
		{"cmd/opstrace-agent/run.go", "os", "os.Exit(1)", 1},
		{"cmd/opstrace-sandbox/x.go", module + "agent/agenttest", "", 0},
		{"agent/x.go", "fmt", `fmt.Println("x")`, 1},
		{"agent/x.go", "fmt", `fmt.Fprintln(nil, "x")`, 0},
		{"agent/x.go", "net/http", `http.HandleFunc("/", nil)`, 1},
		{"agent/x.go", "github.com/prometheus/client_golang/prometheus", "prometheus.MustRegister()", 1},
		{"agent/x.go", "github.com/prometheus/client_golang/prometheus/promauto", "promauto.NewCounter(o)", 1},
		{"agent/x.go", "github.com/prometheus/client_golang/prometheus/promauto", "promauto.With(reg).NewCounter(o)", 0},
	} {
		src := fmt.Sprintf("package x\nimport %q\nfunc f() { %s }\n", tc.imports, tc.body)
		if got := violations(t, tc.file, []byte(src)); len(got) != tc.want {
			t.Errorf("%s with %s %s: %q", tc.file, tc.imports, tc.body, got)
		}
	}
}

// violations checks one file; name is relative to the repository.
func violations(t *testing.T, name string, src []byte) (found []string) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	allowed, known := arrows[path.Dir(name)]
	if !known {
		found = append(found, fmt.Sprintf("%s: nothing says what the package may import", name))
	}
	check := func(pos token.Pos, what string) {
		for _, r := range reserved {
			if r.what.MatchString(what) && !r.allowed.MatchString(name) {
				found = append(found, fmt.Sprintf("%s: %s: %s", fset.Position(pos), what, r.why))
			}
		}
	}
	for _, imp := range file.Imports {
		imported, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		check(imp.Pos(), imported)
		if own, ok := strings.CutPrefix(imported, module); ok && known && !slices.ContainsFunc(allowed, func(p string) bool { return covers(p, own) }) {
			found = append(found, fmt.Sprintf("%s: must not import %s", fset.Position(imp.Pos()), own))
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := sel.X.(*ast.Ident); ok {
				check(sel.Pos(), pkg.Name+"."+sel.Sel.Name)
			}
		}
		return true
	})
	return found
}

// covers reports whether an entry of arrows allows a package.
func covers(entry, imported string) bool {
	if above, ok := strings.CutSuffix(entry, "/..."); ok {
		return imported == above || strings.HasPrefix(imported, above+"/")
	}
	return imported == entry
}
