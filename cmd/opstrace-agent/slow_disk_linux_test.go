package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// FIFREEZE and FITHAW of linux/fs.h. While a file system is frozen, who writes or syncs
// a file waits.
const (
	freeze = 0xC0045877
	thaw   = 0xC0045878
)

// TestStopOnASlowDisk: a sync that takes longer than a stop may otherwise take, as those
// of flash storage in use do, is waited for: it is no failure of the unit, and nothing
// is sent twice.
func TestStopOnASlowDisk(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root mounts file systems")
	}
	dir := t.TempDir()
	image, data := filepath.Join(dir, "image"), filepath.Join(dir, "data")
	write(t, image, "")
	if err := os.Truncate(image, 32<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(data, 0o750); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"mkfs.ext4 -q -F " + image, "mount -o loop " + image + " " + data} {
		words := strings.Fields(command)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%s: %v: %s", command, err, out)
		}
	}
	t.Cleanup(func() { _ = syscall.Unmount(data, syscall.MNT_DETACH) })

	endpoint := newEndpoint(t, agenttest.Options{PlainHTTP: true})
	targets, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(targets.Close)
	target := targets.Add("a", agenttest.TargetOptions{})
	config := write(t, filepath.Join(dir, "c.yml"), "remote_write: [{url: "+endpoint.URL()+", bearer_token: "+agenttest.DefaultToken+"}]\n"+
		"scrape_configs:\n- {job_name: a, scrape_interval: 100ms, scrape_timeout: 100ms, metrics_path: /t/a/metrics, static_configs: [{targets: ["+targets.Addr()+"]}]}\n")
	r := start(t, nil, "--config.file="+config, "--storage.agent.path="+data, "--web.listen-address=127.0.0.1:0")
	r.eventually("it has scraped", func() bool { return len(target.Answered()) > 2 })
	disk, err := os.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	scraped := len(target.Answered()) // before: the next one may be the last that is answered
	if err := unix.IoctlSetInt(int(disk.Fd()), freeze, 0); err != nil {
		t.Skipf("this file system cannot be frozen: %v", err)
	}
	// Also before the agent is killed, which a frozen disk holds up.
	t.Cleanup(func() {
		_ = unix.IoctlSetInt(int(disk.Fd()), thaw, 0)
		disk.Close()
	})
	r.eventually("a scrape waits for the disk, too", func() bool { return len(target.Answered()) > scraped })
	r.signal(syscall.SIGTERM)
	r.awaitLog("Waiting for the disk")
	if err := unix.IoctlSetInt(int(disk.Fd()), thaw, 0); err != nil {
		t.Fatal(err)
	}
	if code, _ := r.wait(); code != 0 {
		t.Errorf("code %d", code)
	}
	if saved, err := os.ReadFile(filepath.Join(data, "delivery.json")); err != nil || !strings.Contains(string(saved), `"clean":true`) {
		t.Errorf("the marks of a clean end are not on the disk: %v: %s", err, saved)
	}
}
