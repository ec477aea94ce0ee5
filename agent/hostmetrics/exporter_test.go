package hostmetrics

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v2"
)

// textfiles is where the textfile collector looks in all tests: it takes its directory once in
// a process.
var textfiles string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "textfiles")
	if err != nil {
		panic(err)
	}
	textfiles = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// openTest opens an exporter of the textfile collector, on top of the defaults.
func openTest(t *testing.T, log io.Writer) *Exporter {
	t.Helper()
	e, err := Open(option("textfile", "directory", textfiles), slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// scraper returns what scrapes e, for as long as a scrape may take by default.
func scraper(t *testing.T, e *Exporter) func() (body string) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		if address != Address {
			t.Errorf("it dials %s", address)
		}
		return e.Dial(ctx)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	client := http.Client{Transport: transport, Timeout: time.Duration(config.DefaultGlobalConfig.ScrapeTimeout)}
	return func() string {
		t.Helper()
		resp, err := client.Get("http://" + Address + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return "\n" + string(body)
	}
}

// TestExporter: a scrape in memory has the metrics of this host, and those that a script has
// left in a file.
func TestExporter(t *testing.T) {
	if err := os.WriteFile(filepath.Join(textfiles, "backup.prom"), []byte("backup_last_success_seconds 12\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	e := openTest(t, &log)
	scrape := scraper(t, e)
	for range 2 {
		body := scrape()
		for _, want := range []string{"node_cpu_seconds_total{", "node_memory_MemAvailable_bytes ", "node_filesystem_size_bytes{", "node_network_receive_bytes_total{", "node_uname_info{", "node_load1 ", "\nbackup_last_success_seconds 12\n"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s is missing: %s", want, log.String())
			}
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if _, err := e.Dial(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dialled after the end: %v", err)
	}
}

// TestFlags: settings are what node_exporter's command line would say.
func TestFlags(t *testing.T) {
	var cs Collectors
	text := `
cpu: false
filesystem: {mount-points-exclude: "^/(dev|proc)($|/)"}
textfile: {directory: [/a, /b]}
stat: {softirq: true}
netdev: {netlink: "false"}
processes: true
`
	if err := yaml.UnmarshalStrict([]byte(text), &cs); err != nil {
		t.Fatal(err)
	}
	got := cs.flags()
	want := []string{
		"--no-collector.cpu",
		"--collector.filesystem", "--collector.filesystem.mount-points-exclude=^/(dev|proc)($|/)",
		"--collector.netdev", "--no-collector.netdev.netlink",
		"--collector.processes",
		"--collector.stat", "--collector.stat.softirq",
		"--collector.textfile", "--collector.textfile.directory=/a", "--collector.textfile.directory=/b",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	again, err := yaml.Marshal(cs)
	if err != nil {
		t.Fatal(err)
	}
	var twice Collectors
	if err := yaml.UnmarshalStrict(again, &twice); err != nil {
		t.Fatalf("%v: %s", err, again)
	}
	if got := twice.flags(); !slices.Equal(got, want) {
		t.Errorf("written and read again: %q", got)
	}
}

func option(collector, name, value string) Collectors {
	return Collectors{collector: {Options: map[string][]string{name: {value}}}}
}

// TestCheck: what node_exporter would end with, or panic at, is refused before.
func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		cs        Collectors
		words     string
		suggested string
	}{
		"no collector": {Collectors{"filesytem": {}}, `there is no collector "filesytem" in this build`, "filesystem"},
		"no option":    {Collectors{"filesystem": {Options: map[string][]string{"mount-point-exclude": {"x"}}}}, `collector filesystem has no option "mount-point-exclude"`, "mount-points-exclude"},
		"pattern":      {option("vmstat", "fields", "("), "fields of collector vmstat: error parsing regexp: missing closing ): `(`", ""},
		"no bool":      {option("cpu", "info", "maybe"), `info of collector cpu: "maybe" is neither true nor false`, ""},
		"no duration":  {option("filesystem", "mount-timeout", "5"), `mount-timeout of collector filesystem: "5" is not a duration`, ""},
		"no number":    {option("filesystem", "stat-workers", "x"), `stat-workers of collector filesystem: "x" is not a number`, ""},
		"both":         {Collectors{"netdev": {Options: map[string][]string{"device-exclude": {"a"}, "device-include": {"b"}}}}, "device-exclude and device-include of collector netdev are both set", ""},
		"an option":    {Collectors{"filesystem.mount-points-exclude": {}}, `there is no collector "filesystem.mount-points-exclude" in this build`, "filesystem"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.cs.Check()
			setting := (*SettingError)(nil)
			if !errors.As(err, &setting) || err.Error() != tc.words || tc.suggested != "" && !slices.Contains(setting.Known, tc.suggested) {
				t.Errorf("got %v", err)
			}
		})
	}
}
