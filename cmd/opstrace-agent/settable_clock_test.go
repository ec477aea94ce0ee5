package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// settableClock in the environment of a command names a file with the number of
// seconds, as eight bytes, by which its wall clock differs from that of the host.
const settableClock = "OPSTRACE_AGENT_TEST_CLOCK"

// wallClock is that of a process under test.
type wallClock struct {
	t    *testing.T
	file *os.File
}

// newWallClock has the time of the host. The test is skipped where it cannot be
// given to a process.
func newWallClock(t *testing.T) *wallClock {
	t.Helper()
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skipf("the clock of a process can be set on linux/amd64 only, this is %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "clock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	c := &wallClock{t, f}
	c.set(0)
	return c
}

func (c *wallClock) env() []string { return []string{settableClock + "=" + c.file.Name()} }

// set makes the clock differ from that of the host by whole seconds.
func (c *wallClock) set(by time.Duration) {
	c.t.Helper()
	b := binary.LittleEndian.AppendUint64(nil, uint64(int64(by/time.Second)))
	if _, err := c.file.WriteAt(b, 0); err != nil {
		c.t.Fatal(err)
	}
}
