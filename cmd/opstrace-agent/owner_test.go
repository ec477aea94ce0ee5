package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestRootOnAnothersStorage: root does not leave its files among those of the service,
// which could not use them, and changes nothing there.
func TestRootOnAnothersStorage(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	t.Parallel()
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "c.yml"), configWith("dead"))
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(data, 64999, 64999); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := runCommand(t, dir, "--config.file="+file, "--storage.agent.path=data", "--web.listen-address=127.0.0.1:0")
	want := "error: " + data + " belongs to user 64999: what root leaves there, that user could not use\n" +
		"hint: start it as that user: sudo -u '#64999' opstrace-agent --config.file=FILE --storage.agent.path=" + data + "\n"
	if code != exitUsage || !strings.HasSuffix(stderr, want) {
		t.Errorf("code %d, %q", code, stderr)
	}
	if left, err := os.ReadDir(data); err != nil || len(left) > 0 {
		t.Errorf("left there: %v, %v", left, err)
	}

	// What is root's own is used, whoever owns the directory, as in a container.
	if err := os.Mkdir(filepath.Join(data, "wal"), 0o750); err != nil {
		t.Fatal(err)
	}
	r := start(t, nil, "--config.file="+file, "--storage.agent.path="+data, "--web.listen-address=127.0.0.1:0")
	r.signal(syscall.SIGTERM)
	if code, _ := r.wait(); code != 0 {
		t.Errorf("on its own: code %d", code)
	}
}

func TestRefuseOwner(t *testing.T) {
	dir := t.TempDir()
	if err := refuseOwner(0, filepath.Join(dir, "new")); err != nil {
		t.Errorf("a new directory: %v", err)
	}
	if err := refuseOwner(1000, dir); err != nil {
		t.Errorf("who is not root is told by the system: %v", err)
	}
}

// TestDeniedHint: nobody is told to run the agent as root, whose files the service
// could not use.
func TestDeniedHint(t *testing.T) {
	dir := t.TempDir()
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, 64999, 64999); err != nil {
			t.Fatal(err)
		}
	}
	owner, _ := ownerOf(dir)
	for name, tc := range map[string]struct {
		err  error
		path string
		want []string
	}{
		"another's": {fs.ErrPermission, dir, []string{"sudo -u " + userArg(owner), "--storage.agent.path"}},
		"nobody's":  {fs.ErrPermission, filepath.Join(dir, "new"), []string{"--storage.agent.path"}},
		"full":      {syscall.ENOSPC, dir, nil},
	} {
		hint := deniedHint(tc.err, owner+1, tc.path)
		missing := slices.DeleteFunc(slices.Clone(tc.want), func(w string) bool { return strings.Contains(hint, w) })
		if len(missing) > 0 || (hint == "") != (tc.want == nil) || strings.Contains(hint, "as root") {
			t.Errorf("%s: %q", name, hint)
		}
	}
}
