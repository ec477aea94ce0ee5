package agent_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// command runs a program, and skips the test where that cannot be done.
func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Skipf("cannot %s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// loopDisk mounts an ext4 of 16 MiB, made with some more arguments, where the agent
// keeps its data. It returns the image.
func loopDisk(t *testing.T, r *rig, args ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root mounts file systems")
	}
	image := filepath.Join(r.dir, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 16<<20); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.ext4", append(append([]string{"-q", "-F", "-m", "0"}, args...), image)...)
	mountLoop(t, r, image)
	return image
}

func mountLoop(t *testing.T, r *rig, image string) {
	t.Helper()
	if err := os.MkdirAll(r.options.StoragePath, 0o750); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-o", "loop,errors=remount-ro", image, r.options.StoragePath)
	t.Cleanup(func() { _ = syscall.Unmount(r.options.StoragePath, syscall.MNT_DETACH) })
}

// fill writes a file until there is no space left, to the last byte.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 4
		}
	}
	_ = f.Sync()
}

// awaitRefusing waits until appends are refused, for a reason if wanted, and counted.
func (r *rig) awaitRefusing(reason string) {
	r.t.Helper()
	var before uint64
	r.eventually("appends to be refused and counted", func() error {
		s := r.status()
		if !s.Ready || !s.Storage.Refusing || !strings.Contains(s.Storage.Unwritable, reason) || len(s.Destinations) == 0 {
			before = 0
			return fmt.Errorf("%+v", s)
		}
		n := s.Destinations[0].Ledger.NotAppended
		if before == 0 {
			before = n + 1
		}
		if n < before {
			return fmt.Errorf("%d refused", n)
		}
		return nil
	})
}

// awaitAccepting waits until appends are accepted, and what is scraped then arrives.
func (r *rig) awaitAccepting(target *agenttest.Target) {
	r.t.Helper()
	r.eventually("appends to be accepted", func() error {
		if s := r.status(); !s.Ready || s.Storage.Refusing {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	r.awaitScrapes(target, 2) // one that had begun before may be refused
	from := time.Now()
	r.awaitScrapes(target, 2)
	r.awaitNew(target, from)
}

// TestDiskFilledAndFreed: a file system is filled to the last byte and freed, again
// and again, under load, with the endpoint there or not, and with kills and starts
// while it is full. The process never ends by itself, and every sample is accounted
// for.
func TestDiskFilledAndFreed(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.killedFull = true
	loopDisk(t, r)
	r.interval = 50 * time.Millisecond
	r.options.BacklogMaxBytes = 6 << 20
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 1000})
	r.start()
	r.awaitState("one", delivery.Live)
	filler := filepath.Join(r.options.StoragePath, "filler")
	for cycle := range 20 {
		down := cycle%3 == 1
		if down {
			if err := r.endpoint.Down(); err != nil {
				t.Fatal(err)
			}
			r.awaitScrapes(one, 5)
		}
		fill(t, filler)
		r.eventually("appends to be refused", func() error {
			if s := r.status(); !s.Storage.Refusing {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
		r.awaitScrapes(one, 2)
		if cycle%4 == 2 {
			r.kill()
			fill(t, filler+"2") // what the kill has left
			r.start()
			r.awaitRefusing("")
		}
		if down && cycle%2 == 0 {
			if err := r.endpoint.Up(); err != nil {
				t.Fatal(err)
			}
			r.eventually("what is on disk to be delivered", func() error {
				if s := r.status(); len(s.Destinations) == 0 || s.Destinations[0].Ledger.OnDisk > 0 {
					return fmt.Errorf("%+v", s)
				}
				return nil
			})
		}
		_ = os.Remove(filler + "2")
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		if down && cycle%2 != 0 {
			if err := r.endpoint.Up(); err != nil {
				t.Fatal(err)
			}
		}
		r.awaitAccepting(one)
	}
	l := r.awaitLedger("one", r.endpoint)
	t.Logf("%+v", l)
	if l.NotAppended == 0 {
		t.Error("nothing was refused")
	}
	r.checkNothingLost(r.endpoint)
}

// TestNoInodes: without an inode left nothing can be created. What is on disk is
// delivered all the same, at run and at start.
func TestNoInodes(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	loopDisk(t, r, "-N", "64")
	r.interval = 50 * time.Millisecond
	r.options.SegmentSize = 32 << 10
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 500})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 5)
	var taken []string
	take := func() {
		for i := 0; ; i++ {
			path := filepath.Join(r.options.StoragePath, fmt.Sprintf("taken%d", i))
			f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
			if errors.Is(err, os.ErrExist) {
				continue
			}
			if err != nil {
				return
			}
			f.Close()
			taken = append(taken, path)
		}
	}
	giveBack := func() {
		for _, path := range taken {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		taken = nil
	}
	take()
	// The endpoint is healthy: what is unlinked makes room, and is taken away again.
	r.eventually("the storage to be unwritable", func() error {
		take()
		if s := r.status(); !strings.Contains(s.Storage.Unwritable, "no space left") {
			return fmt.Errorf("%+v", s.Storage)
		}
		return nil
	})
	r.awaitRefusing("no space left")
	giveBack()
	r.awaitAccepting(one)
	if err := r.endpoint.Down(); err != nil {
		t.Fatal(err)
	}
	r.awaitScrapes(one, 20)
	r.kill()
	take()
	r.start()
	r.awaitRefusing("no space left")
	if err := r.endpoint.Up(); err != nil {
		t.Fatal(err)
	}
	r.eventually("what is on disk to be delivered", func() error {
		if l := r.destination("one").Ledger; l.OnDisk > 0 {
			return fmt.Errorf("%d on disk", l.OnDisk)
		}
		return nil
	})
	giveBack()
	r.awaitAccepting(one)
	r.awaitLedger("one", r.endpoint)
	r.checkNothingLost(r.endpoint)
	if n := strings.Count(r.log.String(), "The storage cannot be written:"); n != 2 {
		t.Errorf("two episodes were logged %d times", n)
	}
}

// TestReadOnly: a start on a file system that is read-only, from which a backlog is
// read where it lies, and which becomes writable under the agent.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	for name, clean := range map[string]bool{"after a stop": true, "after a kill": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			loopDisk(t, r)
			one := r.targets.Add("one", agenttest.TargetOptions{Series: 500})
			r.start()
			r.awaitState("one", delivery.Live)
			if err := r.endpoint.Down(); err != nil {
				t.Fatal(err)
			}
			r.awaitScrapes(one, 20)
			if clean {
				r.stop()
			} else {
				r.kill()
			}
			command(t, "mount", "-o", "remount,ro", r.options.StoragePath)
			r.start()
			r.awaitRefusing("read-only file system")
			if err := r.endpoint.Up(); err != nil {
				t.Fatal(err)
			}
			r.eventually("what is on disk to be delivered", func() error {
				if l := r.destination("one").Ledger; l.OnDisk > 0 || l.Delivered != uint64(r.endpoint.Snapshot().Accepted) {
					return fmt.Errorf("%+v", l)
				}
				return nil
			})
			command(t, "mount", "-o", "remount,rw", r.options.StoragePath)
			r.awaitAccepting(one)
			l := r.awaitLedger("one", r.endpoint)
			if l.NotAppended == 0 || l.LostStretches > 0 {
				t.Errorf("the ledger says %+v", l)
			}
			r.checkNothingLost(r.endpoint)
		})
	}
}

// TestBecomesReadOnly: the kernel finds an error and makes the file system
// read-only, with files open for writing. Somebody mounts it anew, repaired.
func TestBecomesReadOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	image := loopDisk(t, r)
	r.damaged = true // what the journal did not have
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 500})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 5)
	device, err := exec.Command("findmnt", "-n", "-o", "SOURCE", r.options.StoragePath).Output()
	if err != nil {
		t.Skipf("cannot find the device: %v", err)
	}
	trigger := filepath.Join("/sys/fs/ext4", filepath.Base(strings.TrimSpace(string(device))), "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("1"), 0); err != nil {
		t.Skipf("this kernel does not fail on demand: %v", err)
	}
	r.awaitRefusing("read-only file system")
	r.awaitScrapes(one, 5)
	repaired := filepath.Join(r.dir, "repaired")
	copyFile(t, image, repaired)
	if out, err := exec.Command("e2fsck", "-fy", repaired).CombinedOutput(); err != nil {
		t.Logf("%v: %s", err, out) // 1: errors were corrected
	}
	// Over the old one: in an empty directory between two mounts the agent could begin
	// another account.
	mountLoop(t, r, repaired)
	r.awaitAccepting(one)
	l := r.awaitLedger("one", r.endpoint)
	t.Logf("%+v", l)
	if l.NotAppended == 0 {
		t.Error("nothing was refused")
	}
	r.checkNothingLost(r.endpoint)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}

// TestStopWithoutMarks: a stop while nothing can be written is no failure. What could
// not be saved is told once, and is sent again after the next start, without loss.
func TestStopWithoutMarks(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	loopDisk(t, r)
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 200})
	r.start()
	r.awaitState("one", delivery.Live)
	if err := r.endpoint.Down(); err != nil {
		t.Fatal(err)
	}
	r.awaitScrapes(one, 20)
	r.stop()
	command(t, "mount", "-o", "remount,ro", r.options.StoragePath)
	r.start()
	r.awaitRefusing("read-only file system")
	if err := r.endpoint.Up(); err != nil {
		t.Fatal(err)
	}
	r.eventually("what is on disk to be delivered", func() error {
		if l := r.destination("one").Ledger; l.Delivered == 0 || l.OnDisk > 0 {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	r.stop() // which fails the test if the agent does
	if n := strings.Count(r.log.String(), "Not everything could be written at the stop"); n != 1 {
		t.Errorf("it is told %d times", n)
	}
	command(t, "mount", "-o", "remount,rw", r.options.StoragePath)
	r.start()
	r.awaitAccepting(one)
	r.targets.Remove(one)
	if err := r.reload(); err != nil {
		t.Fatal(err)
	}
	// Of what it has already, the endpoint refuses all but the newest sample of each
	// series, and the agent does not know that it has sent it.
	r.eventually("the ledger to add up", func() error {
		l := r.destination("one").Ledger
		stored := uint64(r.endpoint.Snapshot().Accepted)
		if l.Appended != l.Sum() || l.OnDisk > 0 || l.Lost > 0 || l.Delivered+ledger.Total(l.Uncertain) != stored || l.Uncertain["out_of_order"] == 0 {
			return fmt.Errorf("%d stored: %+v", stored, l)
		}
		return nil
	})
	r.checkNothingLost(r.endpoint)
}
