package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A service that cannot start says why where one looks: in the status line, and
// in the journal at the priority of an error.
func TestTakenPortUnderSystemd(t *testing.T) {
	used, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "opstrace-agent.yml"), "scrape_configs: []\n")
	m := newServiceManager(t)
	stderr, err := os.Create(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	info, err := stderr.Stat()
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)

	cmd := command(context.Background(), "--web.listen-address="+used.Addr().String())
	cmd.Dir = dir
	cmd.Stderr = stderr
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+m.path, fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino))
	_ = cmd.Run() // it fails
	if code := cmd.ProcessState.ExitCode(); code != exitFailed {
		t.Errorf("code %d", code)
	}
	m.await("^STATUS=cannot listen: listen tcp "+used.Addr().String()+": bind: address already in use$", "READY")
	journal, err := os.ReadFile(stderr.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n<3>error: cannot listen: listen tcp " + used.Addr().String(), "\n<3>hint: another process has this port"} {
		if !strings.Contains("\n"+string(journal), want) {
			t.Errorf("no %q in\n%s", want, journal)
		}
	}
}
