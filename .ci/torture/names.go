package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// hostsKept is how long the agent may believe what it has read of /etc/hosts (net).
const hostsKept = 5 * time.Second

// names are those by which the agent finds its destinations: it sees these files in the
// place of /etc/hosts and /etc/resolv.conf.
type names struct{ dir, hosts, resolver string }

// inPlace mounts two files over those of the system, for what follows only. What other runs
// have mounted is let go: a disk that somebody has still mounted cannot be mended.
const inPlace = `
mount --make-rprivate / && mount --bind "$2" /etc/hosts && mount --bind "$3" /etc/resolv.conf || exit
grep -o '/[^ ]*/` + runDir + `[^ ]*' /proc/self/mounts | grep -v "^$1" | xargs -r umount -l
shift 3
exec "$@"`

// newNames makes the files in dir. The error says why there can be none.
func newNames(dir string) (*names, error) {
	n := &names{dir, filepath.Join(dir, "hosts"), filepath.Join(dir, "resolv.conf")}
	if err := n.without(""); err != nil {
		return nil, err
	}
	if err := os.WriteFile(n.resolver, []byte("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		return nil, err
	}
	command := append(n.command(), "true")
	cmd := exec.Command(command[0], command[1:]...)
	cmd.SysProcAttr = childAttributes(true)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("no names of its own for the agent: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return n, nil
}

// command goes before one that is to see them, in a mount namespace of its own.
func (n *names) command() []string {
	return []string{"sh", "-c", inPlace, "sh", n.dir, n.hosts, n.resolver}
}

// hostOf is the name of the host of a destination.
func hostOf(destination string) string { return destination + "." + agenttest.Domain }

// without writes the names of all destinations but one. The file keeps its place: it is
// mounted.
func (n *names) without(missing string) error {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	for _, name := range slices.DeleteFunc(destinationNames(), func(name string) bool { return name == missing }) {
		fmt.Fprintf(&b, "127.0.0.1 %s\n", hostOf(name))
	}
	return os.WriteFile(n.hosts, []byte(b.String()), 0o644)
}

// forget has nobody know the host of a destination. What is connected stays so, and what
// the agent has read lately it believes: it is kept away for that long.
func (w *world) forget(e event) error {
	d, err := w.destination(e)
	if err != nil {
		return err
	}
	if err := w.names.without(d.name); err != nil {
		return err
	}
	if err := d.endpoint.Down(); err != nil {
		return err
	}
	// An error shows as a trouble that does not end.
	d.back = time.AfterFunc(hostsKept+time.Second, func() { _ = d.endpoint.Up() })
	return nil
}

func (w *world) know(e event) error {
	d, err := w.destination(e)
	if err != nil {
		return err
	}
	if d.back.Stop() {
		if err := d.endpoint.Up(); err != nil {
			return err
		}
	}
	return w.names.without("")
}

func needsNames(w *world) string { return w.noNames }
