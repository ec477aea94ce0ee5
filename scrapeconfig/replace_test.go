package scrapeconfig

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-kit/log"
)

const whole = `global: {scrape_interval: 10s}
scrape_configs:
  - job_name: a
    static_configs: [{targets: ["127.0.0.1:1"]}]
  - job_name: b
    static_configs: [{targets: ["127.0.0.1:2"]}]
remote_write:
  - {name: one, url: "http://127.0.0.1:1/push"}
  - name: two
    url: http://127.0.0.1:2/push/of/two
`

func TestReadReplacement(t *testing.T) {
	padded := whole + "# " + strings.Repeat("x", page) + "\n"
	before := func(s, end string) string { return s[:strings.Index(s, end)] }
	for _, c := range []struct {
		name, old, next string
		want            string // in the error; "": taken
		jobs, writes    int
	}{
		{"the same", whole, whole, "", 2, 2},
		{"empty", whole, "", "it is empty, and the one in force has 2 destinations", 0, 0},
		{"blank", whole, "\n\n# later\n", "it is empty, and the one in force has 2", 0, 0},
		{"another without destinations", whole, before(whole, "remote_write") + "# gone\n", "it has no destination, and the one in force has 2", 0, 0},
		{"a key without a value", whole, before(whole, "  - {name: one") + "# gone\n", "it has no destination", 0, 0},
		{"no destination, in its own words", whole, before(whole, "remote_write") + "remote_write: []\n", "", 2, 0},
		{"no tenant, in its own words", whole, before(whole, "remote_write") + "opstrace: []\n", "", 2, 0},
		{"without jobs", whole, "remote_write:\n  - {name: one, url: \"http://127.0.0.1:1/push\"}\n", "it has no scrape job, and the one in force has 2 scrape jobs", 0, 0},
		{"no job, in its own words", whole, "scrape_configs: []\nremote_write:\n  - {name: one, url: \"http://127.0.0.1:1/push\"}\n", "", 0, 1},
		{"cut in a line, and good", whole, before(whole, "/of/two"), "ends in the middle of it", 0, 0},
		{"cut in the first destination", whole, before(whole, "/push\"}"), "unexpected end of stream", 0, 0},
		{"cut at a page", padded, padded[:page], "ends in the middle of it", 0, 0},
		{"the last destination removed", whole, before(whole, "  - name: two"), "", 2, 1},
		{"without the last line break", whole, strings.TrimSuffix(whole, "\n"), "", 2, 2},
		{"shortened where the old has no line break", strings.TrimSuffix(whole, "\n"), before(whole, "/of/two"), "", 2, 2},
		{"nothing after nothing", "", "# nothing\n", "", 0, 0},
		{"binary", whole, "\x7fELF\x02\x01\x01\x00\x00\x00", "control characters", 0, 0},
		{"zeros", whole, strings.Repeat("\x00", len(whole)), "control characters", 0, 0},
		{"not UTF-8", whole, "\xff\xfe\x00g\x00l", "cannot unmarshal", 0, 0},
	} {
		path := filepath.Join(t.TempDir(), "agent.yml")
		put := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		put(c.old)
		f, err := ReadFile(path, log.NewNopLogger())
		if err != nil {
			t.Fatal(c.name, err)
		}
		put(c.next)
		next, err := f.ReadReplacement(path, log.NewNopLogger())
		if c.want == "" && err == nil {
			if next.jobs() != c.jobs || len(next.RemoteWriteConfigs) != c.writes {
				t.Errorf("%s: %d jobs, %d destinations", c.name, next.jobs(), len(next.RemoteWriteConfigs))
			}
			continue
		}
		e, ok := errors.AsType[*Error](err)
		if !ok || c.want == "" || !strings.Contains(e.Msg, c.want) || e.File != path {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// A file that has vanished, or is none, is refused like any other that cannot be read.
func TestReadReplacementVanished(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.yml")
	if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := ReadFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadReplacement(path, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("vanished: %v", err)
	}
	if err := os.Mkdir(path, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadReplacement(path, nil); err == nil {
		t.Error("a directory was taken for a configuration")
	}
}
