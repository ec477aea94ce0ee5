package scrapeconfig

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-kit/log"
)

func TestFiles(t *testing.T) {
	cfg, err := LoadFile("testdata/plain.good.yml", log.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Files(cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := []FileRef{
		{Field: "scrape_config_files[0]", Path: "testdata/scrape/*.yml", Glob: true},
		{Field: "scrape_configs[files].file_sd_configs[0].files", Path: "testdata/targets/*.json", Glob: true},
		{Field: "scrape_configs[files].file_sd_configs[0].files", Path: "testdata/targets/*.yml", Glob: true},
		{Field: "scrape_configs[files].basic_auth.password_file", Path: "testdata/secrets/scrape-password"},
		{Field: "scrape_configs[files].tls_config.ca_file", Path: "/etc/ssl/ca.pem"},
		{Field: "scrape_configs[files].tls_config.cert_file", Path: "testdata/client.pem"},
		{Field: "scrape_configs[files].tls_config.key_file", Path: "testdata/client.key"},
		{Field: "scrape_configs[discovered].http_sd_configs[0].http_headers[X-Sd].files", Path: "testdata/secrets/sd-header"},
		{Field: "scrape_configs[more].authorization.credentials_file", Path: "testdata/scrape/more-token"},
		{Field: "remote_write[a.example.com-b790ac80].authorization.credentials_file", Path: "testdata/token-a"},
		{Field: "remote_write[g.example.com-ad7cc191].google_iam.credentials_file", Path: "google.json"},
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Errorf("%d:\ngot  %+v\nwant %+v", i, got[min(i, len(got)):], want[min(i, len(want)):])
			break
		}
	}
}

func TestFilesCountsDiscoveriesByKind(t *testing.T) {
	refs, err := Files(mustLoad(t, `
scrape_configs:
- job_name: a
  static_configs: [{targets: [b]}]
  http_sd_configs:
  - {url: http://c, bearer_token_file: d}
  - {url: http://e, bearer_token_file: f}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []FileRef{
		{Field: "scrape_configs[a].http_sd_configs[0].authorization.credentials_file", Path: "d"},
		{Field: "scrape_configs[a].http_sd_configs[1].authorization.credentials_file", Path: "f"},
	}
	if !slices.Equal(refs, want) {
		t.Errorf("got %+v, want %+v", refs, want)
	}
}

func TestFileRefCheck(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("t"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ref  FileRef
		want string
	}{
		{FileRef{Field: "f", Path: token}, ""},
		{FileRef{Field: "f", Path: filepath.Join(dir, "t*"), Glob: true}, ""},
		{FileRef{Field: "f", Path: filepath.Join(dir, "t*")}, "f: open " + dir + "/t*: no such file or directory"},
		{FileRef{Field: "f", Path: filepath.Join(dir, "x*"), Glob: true}, "f: no file matches " + dir + "/x*"},
		{FileRef{Field: "f", Path: dir}, "f: read " + dir + ": is a directory"},
	} {
		got := ""
		if err := c.ref.Check(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v: got %q, want %q", c.ref, got, c.want)
		}
	}
}

// Every field of upstream's configuration that is called a file or a path is
// known to be one, or not to be one.
func TestEveryFileField(t *testing.T) {
	others := []string{
		"rule_files",                                // Refused.
		"query_log_file", "scrape_failure_log_file", // Written.
		"metrics_path", "path_prefix", "paths", "profile", // Of URLs, in ZooKeeper, and of AWS.
		"files", "scrape_config_files", // Patterns.
	}
	tag := regexp.MustCompile(`yaml:"(\w*(?:file|path)s?(?:_\w*)?)[,"]`)
	files := slices.Concat(upstreamFiles(t, "config/*.go"), upstreamFiles(t, "discovery/*/*.go"), upstreamFiles(t, "storage/remote/*/*.go"))
	seen := 0
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			f, ok := n.(*ast.Field)
			if !ok || f.Tag == nil {
				return true
			}
			m := tag.FindStringSubmatch(f.Tag.Value)
			if m == nil {
				return true
			}
			seen++
			if namesFile(m[1]) == slices.Contains(others, m[1]) {
				t.Errorf("%s: is %s a file that is read?", path, m[1])
			}
			return true
		})
	}
	if seen < 15 {
		t.Errorf("only %d fields found", seen)
	}
}
