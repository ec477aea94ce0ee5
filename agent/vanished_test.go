package agent_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// TestStorageVanishes: the storage directory is removed, renamed or replaced under the
// agent, or all files in it are removed. It is made again by itself, what is scraped
// then arrives, and what only the old one had is in the ledger.
func TestStorageVanishes(t *testing.T) {
	t.Parallel()
	vanish := map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"renamed": func(dir string) error { return os.Rename(dir, dir+".old") },
		"replaced": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o750))
		},
		"wal and backlog removed": func(dir string) error {
			return errors.Join(os.RemoveAll(filepath.Join(dir, "wal")), os.RemoveAll(filepath.Join(dir, "backlog")))
		},
		"files removed": func(dir string) error {
			return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if errors.Is(err, fs.ErrNotExist) || d.IsDir() {
					return nil
				}
				return os.RemoveAll(path)
			})
		},
	}
	for name, harm := range vanish {
		for _, down := range []bool{false, true} {
			t.Run(name+map[bool]string{false: " while live", true: " in an outage"}[down], func(t *testing.T) {
				t.Parallel()
				r := newRig(t, agenttest.Manners{})
				r.damaged, r.vanishes = true, true
				one := r.targets.Add("one", agenttest.TargetOptions{Series: 200})
				r.start()
				r.awaitState("one", delivery.Live)
				r.awaitScrapes(one, 5)
				again := func() {
					if err := harm(r.options.StoragePath); err != nil {
						t.Fatal(err)
					}
					r.awaitVanished()
					r.awaitScrapes(one, 5)
				}
				if down {
					r.outage(func() { r.awaitScrapes(one, 10); again() })
				} else {
					again()
				}
				r.awaitAccepting(one)
				r.awaitState("one", delivery.Live)
				if l := r.awaitLedger("one", r.endpoint); down && l.Lost == 0 {
					t.Errorf("nothing is said to be lost of what nobody can read any more: %+v", l)
				}
				if n := strings.Count(r.log.String(), backlog.ErrVanished.Error()); n != 1 {
					t.Errorf("it is told %d times", n)
				}
				r.stop()
				r.start() // from what the new directory has
				r.awaitLedger("one", r.endpoint)
			})
		}
	}
}

// awaitVanished waits until it is noticed, and there is a storage again.
func (r *rig) awaitVanished() {
	r.t.Helper()
	r.eventually("it to be noticed", func() error {
		if !strings.Contains(r.log.String(), backlog.ErrVanished.Error()) {
			return errors.New("nothing in the log")
		}
		_, err := os.Stat(filepath.Join(r.options.StoragePath, "wal", "00000000"))
		return err
	})
}

// setAside stops an agent that has a backlog by then, and gives its directory another
// name. cut is until when the backlog goes.
func (r *rig) setAside(target *agenttest.Target) (cut time.Time) {
	r.t.Helper()
	r.awaitScrapes(target, 10)
	cut = time.Now()
	r.stop()
	if err := os.Rename(r.options.StoragePath, r.options.StoragePath+".late"); err != nil {
		r.t.Fatal(err)
	}
	return cut
}

// awaitSetAside waits until all that was set aside has arrived.
func (r *rig) awaitSetAside(target *agenttest.Target, cut time.Time) {
	r.t.Helper()
	r.eventually("what the late one has to arrive", func() error {
		return r.endpoint.Snapshot().Scrapes(target, "", cut).Err()
	})
}

// TestStorageAppearsLate: a directory with a backlog takes the name of the one that is
// in use, as a volume does that is mounted late. What lies in it is delivered, and its
// account is continued.
func TestStorageAppearsLate(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 200})
	r.start()
	r.awaitState("one", delivery.Live)
	dir := r.options.StoragePath
	var cut time.Time
	r.outage(func() {
		cut = r.setAside(one)
		r.start()
		r.awaitScrapes(one, 5)
		if err := errors.Join(os.Rename(dir, dir+".early"), os.Rename(dir+".late", dir)); err != nil {
			t.Fatal(err)
		}
		r.awaitVanished()
	})
	r.awaitAccepting(one)
	r.awaitSetAside(one, cut)
	r.awaitLedger("one", r.endpoint)
}

// TestStorageAppearsLateOverReadOnly: the directory in whose place one with a backlog
// appears could not be written, as that of a root file system before the volume is
// mounted. Its marks are not those of what has its name then.
func TestStorageAppearsLateOverReadOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{OutOfOrderWindow: time.Hour})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 200})
	r.start()
	r.awaitState("one", delivery.Live)
	dir := r.options.StoragePath
	var cut time.Time
	r.outage(func() { cut = r.setAside(one) })
	for range 3 { // so that its marks lie behind all that the late one has
		r.start()
		r.awaitState("one", delivery.Live)
		r.awaitScrapes(one, 3)
		r.stop()
	}
	mount(t, dir, "--bind", dir, dir)
	mount(t, dir, "-o", "remount,bind,ro", dir)
	r.start()
	r.awaitRefusing("read-only file system")
	mount(t, dir, "--bind", dir+".late", dir)
	r.awaitAccepting(one)
	r.awaitSetAside(one, cut)
	if l := r.destination("one").Ledger; l.Lost > 0 || l.NotAppended > 0 || l.Appended != l.Sum() {
		t.Errorf("the account of the late one is %+v", l)
	}
}

// mount mounts something at dir for the test.
func mount(t *testing.T, dir string, args ...string) {
	t.Helper()
	command(t, "mount", args...)
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}
