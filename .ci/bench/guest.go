package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The guest is booted by the scripts of make test-systemd, which are looked for from
// the top of this repository.
const (
	guestScripts = "packaging/systemd-test"
	guestSuite   = "bookworm"
	guestMemory  = "128" // MB, of the machine; a part of it the kernel takes for itself
	guestScript  = "available.sh"
	guestTimeout = 40 * time.Minute
	// Where the loopback of this host is for the guest.
	hostInGuest = "10.0.2.2"
	// A scrape of the last seconds before the stop need not have been sent.
	guestGrace = 30 * time.Second
)

// guestLacks says why no guest can be booted here; empty if it can.
func guestLacks() string {
	if runtime.GOARCH != "amd64" {
		return "the emulated machine is made for amd64"
	}
	if os.Geteuid() != 0 {
		return "its disk is made by debootstrap, which needs root"
	}
	var packages []string
	for _, need := range [][2]string{
		{"qemu-system-x86_64", "qemu-system-x86"}, {"busybox", "busybox-static"}, {"cpio", "cpio"},
		{"mkfs.ext4", "e2fsprogs"}, {"debootstrap", "debootstrap"},
	} {
		if _, err := exec.LookPath(need[0]); err != nil {
			packages = append(packages, need[1])
		}
	}
	if len(packages) > 0 {
		return "missing: apt-get install " + strings.Join(packages, " ")
	}
	return ""
}

// makeGuest makes the disk and the kernel, once.
func makeGuest(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, filepath.Join(guestScripts, "trees.sh"), guestSuite)
	cmd.Env = append(os.Environ(), "QEMU=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the disk of the guest cannot be made: %w", err)
	}
	return nil
}

// playInGuest runs the program in a guest of its own. The sink and the targets stay
// outside, where their memory is not the guest's.
func (t *trial) playInGuest(ctx context.Context, scrape string) error {
	payload, out := filepath.Join(filepath.Dir(t.dir), "payload"), filepath.Join(filepath.Dir(t.dir), "out")
	if err := t.writePayload(payload, scrape); err != nil {
		return err
	}
	text, err := boot(ctx, payload, out)
	if err != nil {
		return err
	}
	figures, err := parseFigures(text)
	if err != nil {
		return err
	}
	maps.Copy(t.measured, guestFigures(figures))
	if len(t.measured) == 0 {
		return errors.New("the guest has measured nothing")
	}
	t.set(lostScrapes, float64(t.lost(t.lastAnswered().Add(-guestGrace))))
	return nil
}

// writePayload makes the folder that is /harness in the guest.
func (t *trial) writePayload(dir, scrape string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for from, to := range map[string]string{
		t.binary: "program",
		filepath.Join(guestScripts, "guest", "lib.sh"):    "lib.sh",
		filepath.Join(guestScripts, "guest", "world.sh"):  "world.sh",
		filepath.Join(guestScripts, "guest", guestScript): guestScript,
	} {
		if err := copyFile(from, filepath.Join(dir, to)); err != nil {
			return err
		}
	}
	outside := func(text string) string { return strings.ReplaceAll(text, "127.0.0.1", hostInGuest) }
	url := outside(t.sink.url())
	config := t.configuration(outside(scrape), url, t.interval)
	arguments := t.args("/var/lib/measured", "/harness/config.yml", "127.0.0.1:9090", url)
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "config.yml"), []byte(config), 0o640),
		os.WriteFile(filepath.Join(dir, "arguments"), []byte(strings.Join(arguments, "\n")+"\n"), 0o640),
	)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o750)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// boot returns what the guest prints. It takes minutes.
func boot(ctx context.Context, payload, out string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(guestScripts, "boot.sh"), "qemu", guestSuite, payload, guestScript, out)
	cmd.Env = append(os.Environ(), "QEMU_MEM="+guestMemory, "TIMEOUT="+strconv.Itoa(int(guestTimeout.Seconds())))
	cmd.SysProcAttr = childAttributes()
	// The emulator too, which is no child of this process.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	text, err := cmd.Output()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		return "", fmt.Errorf("the guest: %w; the end of what it said:\n%s", err, strings.Join(lines[max(0, len(lines)-tailLines):], "\n"))
	}
	return string(text), nil
}

// lastAnswered is when a target was scraped last.
func (t *trial) lastAnswered() (last time.Time) {
	for _, target := range t.targets.List() {
		for _, s := range target.Answered() {
			if s.At.After(last) {
				last = s.At
			}
		}
	}
	return last
}

// inGuest is a figure of the guest: what the kernel calls it, and when it was looked at.
type inGuest struct{ phase, name string }

// The phases of available.sh: before the program is started, minutes later, and when
// somebody else takes all memory but what is needed again and again.
const (
	phaseBefore, phaseRest, phasePressure = "before", "rest", "pressure"
)

// parseFigures reads the lines "figure PHASE NAME KIB" of what a guest has printed.
func parseFigures(text string) (map[inGuest]float64, error) {
	figures := map[inGuest]float64{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "figure" {
			continue
		}
		if len(words) != 4 {
			return nil, fmt.Errorf("not a figure: %q", line)
		}
		value, err := strconv.ParseFloat(words[3], 64)
		if err != nil {
			return nil, fmt.Errorf("not a figure: %q", line)
		}
		figures[inGuest{words[1], words[2]}] = value / 1024
	}
	return figures, nil
}

// guestMeasurands say how a measurand is made of one figure, or of the change from one
// to another.
var guestMeasurands = []struct {
	measurand measurand
	from, to  inGuest // from is empty where it is no change
	falls     bool    // a fall counts as positive
}{
	{availableFall, inGuest{phaseBefore, "MemAvailable"}, inGuest{phaseRest, "MemAvailable"}, true},
	{roomFall, inGuest{phaseBefore, "room"}, inGuest{phasePressure, "room"}, true},
	{freeFall, inGuest{phaseBefore, "MemFree"}, inGuest{phaseRest, "MemFree"}, true},
	{cachedRise, inGuest{phaseBefore, "Cached"}, inGuest{phaseRest, "Cached"}, false},
	{anonRise, inGuest{phaseBefore, "AnonPages"}, inGuest{phaseRest, "AnonPages"}, false},
	{slabRise, inGuest{phaseBefore, "Slab"}, inGuest{phaseRest, "Slab"}, false},
	{group, inGuest{}, inGuest{phaseRest, "group"}, false},
	{rss, inGuest{}, inGuest{phaseRest, "VmRSS"}, false},
	{anon, inGuest{}, inGuest{phaseRest, "RssAnon"}, false},
	{file, inGuest{}, inGuest{phaseRest, "RssFile"}, false},
	{pressedGroup, inGuest{}, inGuest{phasePressure, "group"}, false},
	{pressedRSS, inGuest{}, inGuest{phasePressure, "VmRSS"}, false},
	{pressedAnon, inGuest{}, inGuest{phasePressure, "RssAnon"}, false},
	{pressedFile, inGuest{}, inGuest{phasePressure, "RssFile"}, false},
}

// guestFigures leaves out what a figure is missing for.
func guestFigures(figures map[inGuest]float64) map[measurand]float64 {
	measured := map[measurand]float64{}
	for _, m := range guestMeasurands {
		value, ok := figures[m.to]
		if !ok {
			continue
		}
		if m.from != (inGuest{}) {
			from, ok := figures[m.from]
			if !ok {
				continue
			}
			value -= from
		}
		if m.falls {
			value = -value
		}
		measured[m.measurand] = value
	}
	return measured
}
