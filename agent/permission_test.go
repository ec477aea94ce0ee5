package agent_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// nobody is a user whom modes of files concern.
const nobody = 65534

// asNobody has the agent run as a user who is not root.
func (r *rig) asNobody() {
	r.t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	r.dir, r.uid = dir, nobody
	r.options.StoragePath = filepath.Join(dir, "data")
	r.writes = r.write("one", r.endpoint, "")
	// Not by this process: what it forks meanwhile would hold the copy open for
	// writing, and then it cannot be executed.
	if out, err := exec.Command("install", "-m", "755", os.Args[0], filepath.Join(dir, "agent")).CombinedOutput(); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
}

// giveAway makes all that the test has created the user's.
func (r *rig) giveAway() {
	r.t.Helper()
	r.cmd.Path = filepath.Join(r.dir, "agent")
	r.cmd.Dir = r.dir
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(r.uid), Gid: uint32(r.uid)}}
	err := filepath.WalkDir(r.dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, r.uid, r.uid))
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// TestHarmedBacklog: what cannot be read of a backlog costs itself and is told. All
// else is delivered, and the process runs.
func TestHarmedBacklog(t *testing.T) {
	t.Parallel()
	middle := func(t *testing.T, dir string) string {
		t.Helper()
		segments := backlogSegments(t, dir)
		if len(segments) < 3 {
			t.Fatalf("%d segments", len(segments))
		}
		return segments[len(segments)/2]
	}
	replace := func(t *testing.T, path string, by func() error) {
		t.Helper()
		if err := errors.Join(os.Remove(path), by()); err != nil {
			t.Fatal(err)
		}
	}
	for name, harm := range map[string]func(t *testing.T, dir string){
		"a segment may not be read": func(t *testing.T, dir string) {
			if err := os.Chmod(middle(t, dir), 0); err != nil {
				t.Fatal(err)
			}
		},
		"a segment that cannot be read (EIO)": func(t *testing.T, dir string) {
			// No address space begins at 0: the kernel answers EIO.
			path := middle(t, dir)
			replace(t, path, func() error { return os.Symlink("/proc/self/mem", path) })
		},
		"a link in circles in place of a segment": func(t *testing.T, dir string) {
			path := middle(t, dir)
			replace(t, path, func() error { return os.Symlink(path, path) })
		},
		"a directory in place of a segment": func(t *testing.T, dir string) {
			path := middle(t, dir)
			replace(t, path, func() error { return os.Mkdir(path, 0o750) })
		},
		"a generation may not be read": func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Dir(middle(t, dir)), 0); err != nil {
				t.Fatal(err)
			}
		},
		"a file in place of a generation": func(t *testing.T, dir string) {
			path := filepath.Dir(middle(t, dir))
			if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, []byte("x"), 0o600)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			r.asNobody()
			r.damaged = true
			r.options.SegmentSize = 32 << 10
			one := r.targets.Add("one", agenttest.TargetOptions{Series: 500})
			r.start()
			r.awaitState("one", delivery.Live)
			if err := r.endpoint.Down(); err != nil {
				t.Fatal(err)
			}
			r.awaitScrapes(one, 40)
			r.stop()
			r.start() // so that all of it is a finished generation
			r.awaitScrapes(one, 5)
			r.stop()
			harm(t, r.options.StoragePath)
			r.start()
			if err := r.endpoint.Up(); err != nil {
				t.Fatal(err)
			}
			r.awaitState("one", delivery.Live)
			r.awaitAccepting(one)
			l := r.awaitLedger("one", r.endpoint)
			if l.LostStretches == 0 || l.Lost == 0 {
				t.Errorf("the ledger does not know of the harm: %+v", l)
			}
			r.checkNothingLost(r.endpoint)
		})
	}
}

// killedInOutage leaves a backlog of a run that was killed, and its endpoint down.
func (r *rig) killedInOutage() *agenttest.Target {
	r.t.Helper()
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 200})
	r.start()
	r.awaitState("one", delivery.Live)
	if err := r.endpoint.Down(); err != nil {
		r.t.Fatal(err)
	}
	r.awaitScrapes(one, 20)
	r.kill()
	return one
}

// takeAway changes the mode of a directory in the agent's storage until the test has
// ended.
func (r *rig) takeAway(sub string, mode os.FileMode) (dir string) {
	r.t.Helper()
	dir = filepath.Join(r.options.StoragePath, sub)
	if err := os.Chmod(dir, mode); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = os.Chmod(dir, 0o750) })
	return dir
}

// TestHarmedDirectories: directories that may not be used, at a start. The process
// runs, says why it cannot write, and takes up when it can.
func TestHarmedDirectories(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can take a directory away")
	}
	for name, tc := range map[string]struct {
		sub  string
		mode os.FileMode
	}{
		"the storage may not be written": {".", 0o555},
		"wal may not be written":         {"wal", 0o555},
		"wal may not be read":            {"wal", 0},
		"backlog may not be written":     {"backlog", 0o555},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			r.asNobody()
			one := r.killedInOutage()
			dir := r.takeAway(tc.sub, tc.mode)
			r.start()
			if tc.sub != "." { // where only the marks cannot be written, samples can
				r.awaitRefusing("permission denied")
				r.eventually("the hint to name what gives it back", func() error {
					if v := r.status().Verdict; len(v.Problems) == 0 || !strings.Contains(v.Problems[0].Hint, "chown -R") {
						return fmt.Errorf("%+v", v)
					}
					return nil
				})
			}
			if err := r.endpoint.Up(); err != nil {
				t.Fatal(err)
			}
			r.eventually("what is on disk to be delivered", func() error {
				if l := r.destination("one").Ledger; l.Delivered == 0 || tc.sub != "." && l.OnDisk > 0 {
					return fmt.Errorf("%+v", l)
				}
				return nil
			})
			if err := os.Chmod(dir, 0o750); err != nil {
				t.Fatal(err)
			}
			r.awaitAccepting(one)
			r.awaitLedger("one", r.endpoint)
			r.checkNothingLost(r.endpoint)
		})
	}
}

// TestBacklogMayNotBeListed: to go on without it would take all of it for lost, and
// unlink it later. The process waits and says so.
func TestBacklogMayNotBeListed(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.asNobody()
	r.killedInOutage()
	dir := r.takeAway("backlog", 0o300)
	r.launch()
	r.eventually("the agent to say what it waits for", func() error {
		b, err := os.ReadFile(r.addrFile())
		if err != nil {
			return err
		}
		r.addr = string(b)
		if s := r.status(); !strings.Contains(s.Waiting, "permission denied") {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if n := strings.Count(r.log.String(), "Opening the storage anew"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
	if err := errors.Join(os.Chmod(dir, 0o750), r.endpoint.Up()); err != nil {
		t.Fatal(err)
	}
	r.awaitState("one", delivery.Live)
	r.awaitLedger("one", r.endpoint)
	r.checkNothingLost(r.endpoint)
}

// TestNeverUsable: a storage directory that cannot be created is a reason to end, and
// so is one that another process uses.
func TestNeverUsable(t *testing.T) {
	t.Parallel()
	ends := func(t *testing.T, r *rig, want string) {
		t.Helper()
		r.launch()
		select {
		case <-r.gone:
		case <-time.After(patience):
			t.Fatal("the agent runs")
		}
		if r.how == nil || !strings.Contains(r.log.String(), want) {
			t.Errorf("it ended with %v, and does not say %q", r.how, want)
		}
	}
	t.Run("a file in place of it", func(t *testing.T) {
		r := newRig(t, agenttest.Manners{})
		writeFile(t, r.dir, "data", nil)
		ends(t, r, "cannot create the storage directory")
	})
	t.Run("nothing can be created", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("only root can take a directory away")
		}
		r := newRig(t, agenttest.Manners{})
		r.asNobody()
		if err := os.Mkdir(r.options.StoragePath, 0o555); err != nil {
			t.Fatal(err)
		}
		ends(t, r, "must be able to write to")
	})
	t.Run("it may not be looked into", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("only root can take a directory away")
		}
		r := newRig(t, agenttest.Manners{})
		r.asNobody()
		if err := os.Mkdir(r.options.StoragePath, 0); err != nil {
			t.Fatal(err)
		}
		ends(t, r, "must be able to write to")
		if strings.Contains(r.log.String(), "marks are lost") {
			t.Error("what cannot be read is said to be lost")
		}
	})
	t.Run("in use", func(t *testing.T) {
		r := newRig(t, agenttest.Manners{})
		r.start()
		other := newRig(t, agenttest.Manners{})
		other.options.StoragePath = r.options.StoragePath
		ends(t, other, "another process uses the storage directory")
	})
}
