package scrapeconfig

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/config"
)

var update = flag.Bool("update", false, "write the golden files")

func goodFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.good.yml")
	if err != nil || len(files) == 0 {
		t.Fatal("no good files", err)
	}
	return files
}

func TestGood(t *testing.T) {
	t.Setenv("SCRAPECONFIG_TEST_SITE", "berlin")
	t.Setenv("SCRAPECONFIG_TEST_RACK", "7")
	config.DefaultConfig.Runtime.GoGC = 75 // Whatever GOGC is.
	for _, path := range goodFiles(t) {
		cfg, err := LoadFile(path, log.NewNopLogger())
		if err != nil {
			t.Errorf("cannot load: %v", err)
			continue
		}
		got, err := Print(cfg)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if strings.Contains(got, "-secret") {
			t.Errorf("%s: a secret is printed:\n%s", path, got)
		}
		golden := strings.TrimSuffix(path, ".good.yml") + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o640); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
		}
	}
}

// A plain file means what it means to `prometheus --agent`, names apart.
func TestPlainUnchanged(t *testing.T) {
	for _, path := range []string{"testdata/plain.good.yml", "testdata/guide.good.yml"} {
		want, err := loadUpstream(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := LoadFile(path, log.NewNopLogger())
		if err != nil {
			t.Fatal(err)
		}
		var unnamed []bool
		for _, rw := range want.RemoteWriteConfigs {
			unnamed = append(unnamed, rw.Name == "")
		}
		if got, want := text(t, got, unnamed), text(t, want, unnamed); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
		}
	}
}

// The shorthand means the same as the entry of the guide, but for the queue.
func TestShorthandIsTheGuidesEntry(t *testing.T) {
	short := mustLoad(t, "opstrace: {cluster: testcluster, tenant: default, token_file: /t, tls_config: {insecure_skip_verify: true}}")
	long := mustLoad(t, `
remote_write:
- name: opstrace-default
  url: https://cortex.default.testcluster.opstrace.io/api/v1/push
  bearer_token_file: /t
  tls_config: {insecure_skip_verify: true}
  follow_redirects: false
  queue_config: {capacity: 5000, max_shards: 1, min_backoff: 1s, max_backoff: 10s, retry_on_http_429: true}
  metadata_config: {send: true, send_interval: 10m, max_samples_per_send: 2000}
`)
	if got, want := text(t, short, []bool{false}), text(t, long, []bool{false}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func mustLoad(t *testing.T, content string) *config.Config {
	t.Helper()
	cfg, err := Load([]byte(content), "agent.yml", log.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestLoadFileMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.yml")
	_, err := LoadFile(path, log.NewNopLogger())
	want := path + ": cannot read the configuration: no such file or directory"
	if err == nil || err.Error() != want || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// An empty variable is worth a warning, as in Prometheus.
func TestEmptyVariableIsLogged(t *testing.T) {
	var out strings.Builder
	_, err := Load([]byte("global: {external_labels: {a: '${SCRAPECONFIG_TEST_UNSET}'}}"), "", log.NewLogfmtLogger(&out))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `msg="Empty environment variable" name=SCRAPECONFIG_TEST_UNSET`) {
		t.Errorf("got %q", out.String())
	}
}
