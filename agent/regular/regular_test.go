package regular

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// in returns what f returns, which must not wait.
func in(t *testing.T, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("it waits")
		return nil
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"link": "file", "piped": "pipe"} {
		if err := os.Symlink(to, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, name := range []string{"file", "link"} {
		b, err := Read(at(name))
		if err != nil || string(b) != "content" || Check(at(name)) != nil {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	for path, want := range map[string]string{at("pipe"): "a pipe", at("piped"): "a pipe", at("socket"): "a socket", "/dev/zero": "a device"} {
		for _, f := range []func() error{
			func() error { _, err := Read(path); return err },
			func() error { return Check(path) },
		} {
			err := in(t, f)
			var pe *fs.PathError
			var no *NotRegular
			if !errors.As(err, &no) || !errors.As(err, &pe) || pe.Path != path || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	if _, err := Read(at("none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	if _, err := Read(dir); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("a directory: %v", err)
	}
	if err := Check(dir); err != nil {
		t.Errorf("a directory: %v", err)
	}
}
