package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestHangupDuringTheStart: a SIGHUP that comes while the configuration is being read
// does not end the process.
func TestHangupDuringTheStart(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/fd"); err != nil {
		t.Skip("no /dev/fd to hand over a pipe:", err)
	}
	read, written, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer written.Close()
	r := &running{t: t, log: &syncBuffer{}, done: make(chan struct{})}
	r.cmd = command(context.Background(), "--config.file=/dev/fd/3", "--storage.agent.path="+filepath.Join(t.TempDir(), "data"), "--web.listen-address=127.0.0.1:0")
	r.cmd.ExtraFiles, r.cmd.Stderr = []*os.File{read}, r.log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read.Close()
	go func() {
		_ = r.cmd.Wait() // how it ended is looked at by the test
		close(r.done)
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.done
	})
	// More than a pipe holds: it is written when the process reads.
	if _, err := fmt.Fprint(written, configWith("first"), strings.Repeat("# padding\n", 20_000)); err != nil {
		t.Fatal(err)
	}
	r.signal(syscall.SIGHUP)
	if err := written.Close(); err != nil {
		t.Fatal(err)
	}
	r.awaitReady()
}
