package scrapeconfig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/regular"
)

// soon returns what f returns, which must not wait for a writer.
func soon(t *testing.T, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for somebody to write")
		return nil
	}
}

// TestPipes: a named pipe in the place of a file is refused, and nothing waits for it.
func TestPipes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, main := filepath.Join(dir, "jobs.yml"), filepath.Join(dir, "agent.yml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(main, []byte("scrape_config_files: ['job*.yml']\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"as the configuration": func() error { _, err := LoadFile(pipe, nil); return err },
		"at a reload":          func() error { _, err := (&File{}).ReadReplacement(pipe, nil); return err },
		"named in it":          func() error { _, err := LoadFile(main, nil); return err },
	} {
		err := soon(t, f)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.File != pipe || !strings.Contains(e.Msg, "a pipe, not a regular file") || e.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := soon(t, FileRef{Field: "remote_write[x].bearer_token_file", Path: pipe}.Check)
	if _, ok := errors.AsType[*regular.NotRegular](err); !ok {
		t.Errorf("checked: %v", err)
	}
}

// TestInheritedPipe: what a shell's <(...) gives is read at a start, and refused at a
// reload, when it is read up.
func TestInheritedPipe(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	path := fmt.Sprintf("/dev/fd/%d", r.Fd())
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no %s here: %v", path, err)
	}
	if _, err := w.WriteString(whole); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := ReadFile(path, nil)
	if err != nil || len(f.RemoteWriteConfigs) != 2 {
		t.Fatal(err)
	}
	_, err = f.ReadReplacement(path, nil)
	if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Msg, "a pipe") {
		t.Errorf("at a reload: %v", err)
	}
}
