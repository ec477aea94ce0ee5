package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

func newTestWorld(t *testing.T, p program) *world {
	t.Helper()
	w, err := newWorld(t.TempDir(), p, schedule{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return w
}

// TestConfiguration: the agent takes the file however it is changed, and takes none that is
// spoilt.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	w := newTestWorld(t, program{clock: true})
	wanted := len(destinations)
	load := func() error {
		cfg, err := scrapeconfig.LoadFile(w.configFile(), log.NewNopLogger())
		if err == nil && len(cfg.RemoteWriteConfigs) != wanted {
			t.Errorf("%d destinations instead of %d", len(cfg.RemoteWriteConfigs), wanted)
		}
		return err
	}
	for _, what := range []string{"comment", "batch", "header", "interval"} {
		before, _ := os.ReadFile(w.configFile())
		if err := w.reconfigure(func(c *configuration) { c.changes[what]++ }); err != nil {
			t.Fatal(err)
		}
		if err := load(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if after, _ := os.ReadFile(w.configFile()); string(after) == string(before) {
			t.Errorf("%s changes nothing", what)
		}
	}
	for _, how := range []string{"unknown", "binary", "gone"} {
		if err := w.reconfigure(func(c *configuration) { c.spoilt = how }); err != nil {
			t.Fatal(err)
		}
		if load() == nil {
			t.Errorf("%s is taken", how)
		}
	}
	if err := w.reconfigure(func(c *configuration) { c.spoilt, c.removed = "", "two" }); err != nil {
		t.Fatal(err)
	}
	wanted--
	if err := load(); err != nil {
		t.Error(err)
	}
	if err := w.reconfigure(func(c *configuration) { c.removed, c.renamed, c.scraping = "", "two", false }); err != nil {
		t.Fatal(err)
	}
	wanted++
	if err := load(); err != nil {
		t.Error(err)
	}
}

// TestManners: each can be begun and ended on a world without an agent, and leaves it as
// it was. Signals go to nobody.
func TestManners(t *testing.T) {
	t.Parallel()
	for _, p := range []program{{}, {clock: true}} {
		tryManners(t, newTestWorld(t, p))
	}
}

func tryManners(t *testing.T, w *world) {
	t.Helper()
	for seed := range uint64(10) {
		for _, e := range draw(seed, 10*time.Minute).events {
			m, _ := mannerOf(e.kind)
			if strings.HasSuffix(e.kind, "kill") || strings.HasSuffix(e.kind, "term") || m.needs != nil && m.needs(w) != "" {
				continue
			}
			before, _ := os.ReadFile(w.configFile())
			if err := m.begin(w, e); err != nil {
				t.Errorf("%s: %v", e, err)
			}
			if m.end == nil {
				continue
			}
			if err := m.end(w, e); err != nil {
				t.Errorf("end of %s: %v", e, err)
			}
			if after, _ := os.ReadFile(w.configFile()); string(after) != string(before) {
				t.Errorf("%s leaves another file", e)
			}
			if d, err := w.destination(e); err == nil && d.trouble.Load() != nil {
				t.Errorf("%s leaves the endpoint in trouble", e)
			}
		}
	}
}

// TestProcess: what ends is on record, with whether it was meant to.
func TestProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]struct {
		script string
		end    func(*process) error
		want   exit
	}{
		"by itself":  {"exit 3", func(p *process) error { <-p.done; return nil }, exit{code: 3}},
		"killed":     {"exec sleep 60", (*process).kill, exit{code: -1, after: "killed"}},
		"terminated": {"trap 'exit 5' TERM; echo trapped; while :; do sleep 0.05; done", (*process).stop, exit{code: 5, after: "terminated"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &process{path: "/bin/sh", args: []string{"-c", c.script}, log: filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))}
			if err := p.start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.close)
			for strings.Contains(c.script, "trapped") {
				if out, _ := os.ReadFile(p.log); len(out) > 0 {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if err := c.end(p); err != nil {
				t.Fatal(err)
			}
			if len(p.exits) != 1 || p.exits[0].code != c.want.code || p.exits[0].after != c.want.after {
				t.Errorf("%+v", p.exits)
			}
			if pid, _ := p.running(); pid != 0 {
				t.Errorf("%d runs still", pid)
			}
		})
	}
}

func TestBytesIn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"wal", "backlog/1"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "wal/0")
	if err := os.WriteFile(file, make([]byte, 1000), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(file, filepath.Join(dir, "backlog/1/0")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "backlog/1/1"), make([]byte, 1), 0o640); err != nil {
		t.Fatal(err)
	}
	if got := bytesIn(filepath.Join(dir, "wal"), filepath.Join(dir, "backlog"), filepath.Join(dir, "none")); got != 1001 {
		t.Errorf("%d bytes", got)
	}
}

func TestBadLines(t *testing.T) {
	t.Parallel()
	log := "ts=1 msg=Well\npanic: runtime error: index out of range\n\ngoroutine 1 [running]:\nfatal error: all goroutines are asleep\n"
	if got := badLines([]byte(log)); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

func TestSum(t *testing.T) {
	t.Parallel()
	f := good()
	f.schedule.seed = 7
	f.spans = []span{during("kill", 1, 2), during("down", 3, 4), during("kill", 5, 6)}
	f.destinations[0].ledger.Refused = map[string]uint64{"x": 3}
	f.destinations[0].missing = 4
	want := "seed 7: scrapes answered 10, with at least 100 samples; cortex: appended 120, delivered 120, refused 3; injections down 1 kill 2; looks 2; missing 1"
	if got := sum(f); got != want {
		t.Errorf("%s", got)
	}
}

// TestDisk: a disk that is filled, or has no inode left, takes nothing until it is freed.
func TestDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	d, err := mountDisk(dir)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(d.close)
	kept := filepath.Join(dir, "kept")
	if err := errors.Join(os.WriteFile(kept, []byte("synced"), 0o640), syncFile(kept)); err != nil {
		t.Fatal(err)
	}
	if err := d.remount("ro"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kept, nil, 0o640); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a disk that can be read only: %v", err)
	}
	if err := d.remount("rw"); err != nil {
		t.Fatal(err)
	}
	for name, take := range map[string]func() error{"bytes": d.fill, "inodes": d.takeInodes} {
		if err := take(); err != nil {
			t.Fatal(err)
		}
		if os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o640) == nil {
			t.Errorf("%s are left", name)
		}
		if err := d.free(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o640); err != nil {
			t.Error(err)
		}
	}
	if d.noDevice != "" {
		t.Skip(d.noDevice)
	}
	syscall.Sync() // what was removed would be there again
	d.device.Fail(true)
	late := filepath.Join(dir, "late")
	if err := errors.Join(os.WriteFile(late, []byte("x"), 0o640), syncFile(late)); err == nil {
		t.Error("a device that fails takes what is forced to it")
	}
	if err := d.mend(); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(kept); err != nil || string(content) != "synced" {
		t.Errorf("%q, %v", content, err)
	}
	if err := errors.Join(os.WriteFile(late, []byte("x"), 0o640), syncFile(late)); err != nil {
		t.Error(err)
	}
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// TestNames: what runs behind the command knows the destinations, but for one, and nobody
// else does.
func TestNames(t *testing.T) {
	t.Parallel()
	n, err := newNames(t.TempDir())
	if err != nil {
		t.Skip(err)
	}
	if err := n.without("two"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(n.command()[0], append(n.command()[1:], "cat", "/etc/hosts", "/etc/resolv.conf")...)
	cmd.SysProcAttr = childAttributes(true)
	seen, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{hostOf("cortex"): true, hostOf("two"): false, "nameserver 127.0.0.1": true} {
		if strings.Contains(string(seen), text) != want {
			t.Errorf("%q: %t in\n%s", text, !want, seen)
		}
	}
	if ours, _ := os.ReadFile("/etc/hosts"); strings.Contains(string(ours), hostOf("cortex")) {
		t.Errorf("this process sees it as well:\n%s", ours)
	}
}
