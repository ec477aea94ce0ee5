package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
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
	mark := write(t, filepath.Join(data, "delivery.json"), "")
	for _, path := range []string{data, mark} {
		if err := os.Chown(path, 64999, 64999); err != nil {
			t.Fatal(err)
		}
	}
	_, stderr, code := runCommand(t, dir, "--config.file="+file, "--storage.agent.path=data", "--web.listen-address=127.0.0.1:0")
	want := "error: " + data + " belongs to user 64999: what root leaves there, that user could not use\n" +
		"hint: " + startAs(64999, data) + "\n"
	if code != exitUsage || !strings.HasSuffix(stderr, want) {
		t.Errorf("code %d, %q", code, stderr)
	}
	if left, err := os.ReadDir(data); err != nil || len(left) != 1 {
		t.Errorf("left there: %v, %v", left, err)
	}

	// An empty one is used, as the fresh volume of an image, and then what is root's own,
	// whoever owns the directory.
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		startAndStop(t, file, data)
	}
}

func startAndStop(t *testing.T, file, data string) {
	t.Helper()
	r := start(t, nil, "--config.file="+file, "--storage.agent.path="+data, "--web.listen-address=127.0.0.1:0")
	r.signal(syscall.SIGTERM)
	if code, _ := r.wait(); code != 0 {
		t.Errorf("code %d", code)
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

// TestOwnerIsGivenToAll: what root leaves in another's directory is no harm where the file
// system gives it to that one, or where root can leave nothing.
func TestOwnerIsGivenToAll(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const owner = 64999
	dir := t.TempDir()
	for _, path := range []string{filepath.Dir(dir), dir, write(t, filepath.Join(dir, "lock"), "")} {
		if err := os.Chown(path, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{filepath.Dir(dir), dir} { // which all may list
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		gets    int // what files belong to that root makes
		refused bool
	}{
		"a disk of this host": {0, true},
		"vfat with uid=":      {owner, false},
		"NFS, root squashed":  {64998, false},
	} {
		refused := make(chan error)
		go func() {
			runtime.LockOSThread() // which ends with this goroutine
			if err := syscall.Setfsuid(tc.gets); err != nil {
				t.Error(err)
			}
			refused <- refuseOwner(0, dir)
		}()
		if err := <-refused; (err != nil) != tc.refused {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("%s: left there: %v, %v", name, left, err)
		}
	}
}

func TestStartHint(t *testing.T) {
	t.Parallel()
	const byHand = "start it as that user: sudo -u '#64999' opstrace-agent --config.file=FILE --storage.agent.path=/data"
	for _, tc := range []struct {
		service, sudo bool
		want          string
	}{
		{true, true, "start the service: systemctl start opstrace-agent; or by hand, " + byHand},
		{true, false, "start the service: systemctl start opstrace-agent"},
		{false, true, byHand},
		{false, false, "start it as user 64999, which the container or the unit (User=64999) has to name"},
	} {
		if got := startHint(64999, "/data", tc.service, tc.sudo); got != tc.want {
			t.Errorf("service %t, sudo %t: %q", tc.service, tc.sudo, got)
		}
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
		"another's": {fs.ErrPermission, dir, []string{startAs(owner, dir), "--storage.agent.path"}},
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
