package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestProgressLine: it is on a terminal only, and gone in the end.
func TestProgressLine(t *testing.T) {
	screen, terminal := openTerminal(t)
	drawn := make(chan struct{}, 1)
	p := startProgress(terminal, time.Millisecond, func() string {
		select {
		case drawn <- struct{}{}:
		default:
		}
		return "12 of 30 targets"
	})
	<-drawn
	<-drawn // so one has been written
	p.stop()
	fmt.Fprint(terminal, "end")
	var got string
	for !strings.HasSuffix(got, "end") {
		b := make([]byte, 1000)
		n, err := screen.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		got += string(b[:n])
	}
	const line = eraseLine + "12 of 30 targets"
	if got != strings.Repeat(line, strings.Count(got, line))+eraseLine+"end" {
		t.Errorf("got %q", got)
	}

	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p = startProgress(file, time.Millisecond, func() string {
		t.Error("drawn into a file")
		return ""
	})
	p.clear()
	p.stop()
	if info, err := file.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("a file got %d bytes, %v", info.Size(), err)
	}
}

// openTerminal returns both ends of a pseudo terminal.
func openTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo terminals: %s", err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return screen, terminal
}
