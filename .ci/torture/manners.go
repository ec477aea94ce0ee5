package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

// manner is a way of giving the agent trouble: a row of the tables from which schedules
// are drawn, by which they are played, and by which a run is judged.
type manner struct {
	kind   string
	weight int              // how often it is drawn, beside the others of its lane
	lasts  [2]time.Duration // from, to, in tenths of a second; zero: it is over at once
	args   func(*rand.Rand) []string
	begin  func(*world, event) error
	end    func(*world, event) error // nil where nothing has to be undone
	// noticed is how long it may be there until the verdict tells of it; 0: the verdict
	// need not.
	noticed time.Duration
	// costs are the terms of the ledger that samples may be in for it. Where there are
	// some, the verdict tells of it for a while.
	costs []string
	// needs says why it cannot be done here; nil: it can be everywhere.
	needs func(*world) string
	// unacknowledged: the endpoint stores samples, and the agent is not told.
	unacknowledged bool
	// kills: the process is killed in it. forgets: what was written shortly before is gone.
	kills, forgets bool
	// harmless: all stays well with it. heavy: it takes much memory.
	harmless, heavy bool
	// resends: what a sender has sent it may send again. sender: it is about the sender, and
	// costs terms of that one's ledger.
	resends, sender bool
}

// The terms in which samples stand that do not arrive.
const (
	refused     = "refused"
	filtered    = "filtered"
	uncertain   = "uncertain"
	evicted     = "evicted"
	lost        = "lost"
	notAppended = "notAppended"
	rejected    = "rejected"
)

// manners are all rows.
func manners() []manner {
	return slices.Concat(ofProcess, ofDevice, ofFile, ofDisk, ofClock, ofTarget, ofDestination, ofSender, ofSenderDisk)
}

func mannerOf(kind string) (manner, bool) {
	m, ok := byKind()[kind]
	return m, ok
}

// byKind is asked for each look at each event.
var byKind = sync.OnceValue(func() map[string]manner {
	rows := map[string]manner{}
	for _, m := range manners() {
		rows[m.kind] = m
	}
	return rows
})

func seconds(from, to float64) [2]time.Duration {
	return [2]time.Duration{time.Duration(from * float64(time.Second)), time.Duration(to * float64(time.Second))}
}

// oneOf draws one argument.
func oneOf(name string, values ...string) func(*rand.Rand) []string {
	return func(r *rand.Rand) []string { return []string{name + "=" + values[r.IntN(len(values))]} }
}

// told is how long a refused reload or a missing destination may go untold: the status
// is asked every few seconds, on a machine that is busy.
const told = 10 * time.Second

var ofProcess = []manner{
	{kind: "kill", weight: 4, lasts: seconds(0.1, 6), unacknowledged: true, kills: true, resends: true, begin: func(w *world, _ event) error { return w.agent.kill() }, end: startAgent},
	{kind: "term", weight: 3, lasts: seconds(0.1, 6), resends: true, begin: func(w *world, _ event) error { return w.agent.stop() }, end: startAgent},
	{kind: "stop", weight: 2, lasts: seconds(1, 40), resends: true, begin: signalAgent(syscall.SIGSTOP), end: signalAgent(syscall.SIGCONT)},
	{
		kind: "spoil", weight: 4, lasts: seconds(1, 15), noticed: told,
		args: oneOf("how", "unknown", "cut", "empty", "binary", "gone"),
		begin: func(w *world, e event) error {
			return w.reconfigure(func(c *configuration) { c.spoilt = e.arg("how") })
		},
		end: func(w *world, _ event) error { return w.reconfigure(func(c *configuration) { c.spoilt = "" }) },
	},
	{
		// "Configuration and backlog are read by the older version" (upgrading.md), and what it
		// leaves by the newer one.
		kind: "version", weight: 2, lasts: seconds(5, 40), needs: needsOther,
		begin: func(w *world, _ event) error { return w.agent.become(w.program.other) },
		end:   func(w *world, _ event) error { return w.agent.become(w.program.path) },
	},
}

func needsOther(w *world) string {
	if w.program.other == "" {
		return "there is no other version: TORTURE_OTHER=PATH"
	}
	if w.disk != nil && (w.disk.useless || len(w.disk.taken) > 0) {
		return "what another version does on a full disk is not judged"
	}
	return ""
}

func startAgent(w *world, _ event) error { return w.agent.start() }

func signalAgent(s syscall.Signal) func(*world, event) error {
	return func(w *world, _ event) error { return w.agent.signal(s) }
}

var ofFile = []manner{
	{
		kind: "change", weight: 3, args: oneOf("what", "comment", "batch", "header", "interval"),
		begin: func(w *world, e event) error {
			return w.reconfigure(func(c *configuration) { c.changes[e.arg("what")]++ })
		},
	},
	{
		kind: "remove", weight: 2, lasts: seconds(1, 20), noticed: told, args: oneOf("which", destinationNames()...),
		begin: func(w *world, e event) error {
			return w.reconfigure(func(c *configuration) { c.removed = e.arg("which") })
		},
		end: func(w *world, _ event) error { return w.reconfigure(func(c *configuration) { c.removed = "" }) },
	},
}

// destinationNames are those of all.
func destinationNames() (all []string) {
	for _, d := range destinations {
		all = append(all, d.name)
	}
	return all
}

// destination of an event.
func (w *world) destination(e event) (*destination, error) {
	for _, d := range w.destinations {
		if d.name == e.on {
			return d, nil
		}
	}
	return nil, fmt.Errorf("there is no destination %q", e.on)
}
