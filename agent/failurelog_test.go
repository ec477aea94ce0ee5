package agent

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/prometheus/prometheus/config"
)

// TestMissingLogs: what cannot be opened is named, once, and to look leaves no trace.
func TestMissingLogs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, kept := filepath.Join(dir, "pipe"), filepath.Join(dir, "kept")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.WriteFile(kept, []byte("{}\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(dir, "absent")
	var scrapes []*config.ScrapeConfig
	for _, path := range []string{"", kept, absent, pipe, dir, filepath.Join(absent, "x"), dir} {
		scrapes = append(scrapes, &config.ScrapeConfig{ScrapeFailureLogFile: path})
	}
	var got []string
	for _, m := range missingLogs(scrapes) {
		got = append(got, m.File)
		if l, err := openFailureLog(m.File); err != nil {
			t.Errorf("scraping would end: %v", err)
		} else if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(got) != 3 || got[0] != pipe || got[1] != dir || got[2] != filepath.Join(absent, "x") {
		t.Errorf("missing: %q", got)
	}
	if _, err := os.Stat(absent); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a trace: %v", err)
	}
	if b, err := os.ReadFile(kept); err != nil || string(b) != "{}\n" {
		t.Errorf("%q, %v", b, err)
	}
}
