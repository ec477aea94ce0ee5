package scrapeconfig

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/go-kit/log"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/config"
)

// upstreamDir is the folder of the Prometheus source that this build uses.
var upstreamDir = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/prometheus/prometheus").Output()
	return strings.TrimSpace(string(out)), err
})

func upstreamFiles(t testing.TB, pattern string) []string {
	t.Helper()
	dir, err := upstreamDir()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no file matches %s in %s", pattern, dir)
	}
	return files
}

// loadUpstream loads path as `prometheus --agent` does at its start.
func loadUpstream(path string) (*config.Config, error) {
	cfg, err := config.LoadFile(path, true, promslog.NewNopLogger())
	if err != nil {
		return nil, err
	}
	_, err = cfg.GetScrapeConfigs()
	return cfg, err
}

// text prints everything in cfg, secrets and included jobs too, with the
// names of the destinations that had none left out.
func text(t *testing.T, cfg *config.Config, unnamed []bool) string {
	t.Helper()
	commonconfig.MarshalSecretValue = true
	defer func() { commonconfig.MarshalSecretValue = false }()
	for i, rw := range cfg.RemoteWriteConfigs {
		if unnamed[i] {
			rw.Name = ""
		}
	}
	jobs, err := cfg.GetScrapeConfigs()
	if err != nil {
		t.Fatal(err)
	}
	all := *cfg
	all.ScrapeConfigs = jobs
	return all.String()
}

func TestUpstreamGoodFiles(t *testing.T) {
	accepted := 0
	reasons := map[string][]string{}
	files := slices.Concat(
		upstreamFiles(t, "config/testdata/*.good.yml"),
		upstreamFiles(t, "config/testdata/agent_mode.*.yml"),
		upstreamFiles(t, "config/testdata/scrape_config_*mode.yml"),
		upstreamFiles(t, "documentation/examples/prometheus*.yml"),
	)
	for _, path := range files {
		want, upstreamErr := loadUpstream(path)
		got, err := LoadFile(path, log.NewNopLogger())
		if upstreamErr != nil {
			reason := reasonOf(t, path, err)
			reasons[reason] = append(reasons[reason], filepath.Base(path))
			continue
		}
		if filepath.Base(path) == "remote_write_retry_on_rate_limit.good.yml" {
			// Nothing can be sent to its localhost:9090.
			if err == nil || !strings.Contains(err.Error(), `url "localhost:9090" is not one of http or https`) {
				t.Errorf("%s: got %v", path, err)
			}
			continue
		}
		accepted++
		if err != nil {
			t.Errorf("upstream accepts it, but: %v", err)
			continue
		}
		var unnamed []bool
		for i, rw := range want.RemoteWriteConfigs {
			unnamed = append(unnamed, rw.Name == "")
			if got.RemoteWriteConfigs[i].Name == "" {
				t.Errorf("%s: remote_write[%d] has no name", path, i)
			}
		}
		if got, want := text(t, got, unnamed), text(t, want, unnamed); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: differs from upstream's in a field that is not printed", path)
		}
	}
	if accepted < 40 {
		t.Errorf("only %d files accepted", accepted)
	}
	t.Logf("%d accepted", accepted)
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		t.Logf("%d refused, %s: %s", len(reasons[reason]), reason, strings.Join(reasons[reason], ", "))
	}
}

var serverSection = regexp.MustCompile(`^field \w+ is not allowed in agent mode`)

// reasonOf returns why this build of an agent refuses a good file.
func reasonOf(t *testing.T, path string, err error) string {
	t.Helper()
	e, ok := err.(*Error)
	switch {
	case !ok:
		t.Errorf("%s: upstream refuses it, but got %v", path, err)
		return "accepted"
	case e.Line == 0 || e.Hint == "":
		t.Errorf("%s: no line or no hint: %#v", path, e)
	}
	switch {
	case serverSection.MatchString(e.Msg):
		return "an agent cannot serve it"
	case strings.Contains(e.Msg, "this build has no "):
		return "this build lacks a discovery"
	}
	t.Errorf("%s: neither for an agent's nor for this build's limits: %v", path, err)
	return "other"
}

func TestUpstreamBadFiles(t *testing.T) {
	for _, path := range upstreamFiles(t, "config/testdata/*.bad.yml") {
		_, err := LoadFile(path, log.NewNopLogger())
		e, ok := err.(*Error)
		if !ok {
			t.Errorf("%s: got %v", path, err)
			continue
		}
		if e.Line == 0 || e.Hint == "" {
			t.Errorf("%s: no line or no hint: %#v", path, e)
		}
	}
}

// TestDiscoveries holds the list of discoveries against those that upstream's
// source registers.
func TestDiscoveries(t *testing.T) {
	want := map[string]bool{}
	for _, path := range upstreamFiles(t, "discovery/*/*.go") {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if name := configName(decl); name != "" {
				want[name] = true
			}
		}
	}
	if want := slices.Sorted(maps.Keys(want)); !slices.Equal(discoveries, want) {
		t.Errorf("got  %v\nwant %v", discoveries, want)
	}
	for _, path := range upstreamFiles(t, "docs/configuration/configuration.md") {
		doc, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?m)^### `<(\\w+)_sd_config>`").FindAllStringSubmatch(string(doc), -1) {
			if !slices.Contains(discoveries, m[1]) {
				t.Errorf("the manual's %s is missing", m[1])
			}
		}
	}
}

// configName returns what the method Name() of a type ...SDConfig returns.
func configName(decl ast.Decl) string {
	f, ok := decl.(*ast.FuncDecl)
	if !ok || f.Recv == nil || f.Name.Name != "Name" || f.Type.Params.NumFields() > 0 {
		return ""
	}
	recv := f.Recv.List[0].Type
	if star, ok := recv.(*ast.StarExpr); ok {
		recv = star.X
	}
	ret, ok := f.Body.List[0].(*ast.ReturnStmt)
	if id, isIdent := recv.(*ast.Ident); !ok || !isIdent || !strings.HasSuffix(id.Name, "SDConfig") {
		return ""
	}
	lit, ok := ret.Results[0].(*ast.BasicLit)
	if !ok {
		return ""
	}
	name, _ := strconv.Unquote(lit.Value)
	return name
}
