package main

import (
	"math/rand/v2"
	"syscall"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// ofSender is what becomes of the agent that sends to the one that is judged, whose verdict
// has nothing to say about it.
var ofSender = []manner{
	{
		kind: "sender-kill", weight: 4, lasts: seconds(0.1, 10), sender: true, resends: true, needs: needsSender, harmless: true,
		begin: func(w *world, _ event) error { return w.sender.kill() }, end: startSender,
	},
	{
		kind: "sender-term", weight: 3, lasts: seconds(0.1, 10), sender: true, resends: true, needs: needsSender, harmless: true,
		begin: func(w *world, _ event) error { return w.sender.stop() }, end: startSender,
	},
	{
		kind: "sender-stop", weight: 2, lasts: seconds(1, 40), sender: true, resends: true, needs: needsSender, harmless: true,
		begin: signalSender(syscall.SIGSTOP), end: signalSender(syscall.SIGCONT),
	},
	{
		// Its requests, or the answers to them, break off.
		kind: "link", weight: 4, lasts: seconds(1, 40), sender: true, resends: true, needs: needsSender, harmless: true,
		args: func(r *rand.Rand) []string {
			return append(oneOf("way", "request", "answer")(r), oneOf("bytes", "1", "300", "1500", "5000")(r)...)
		},
		begin: func(w *world, e event) error {
			if e.arg("way") == "answer" {
				w.sender.link.SetWire(agenttest.Wire{Answer: int64(e.number("bytes"))})
			} else {
				w.sender.link.SetWire(agenttest.Wire{Request: int64(e.number("bytes"))})
			}
			return nil
		},
		end: func(w *world, _ event) error { w.sender.link.SetWire(agenttest.Wire{}); return nil },
	},
}

var ofSenderDisk = []manner{{
	kind: "sender-fill", weight: 2, lasts: seconds(1, 25), sender: true, needs: needsSenderDisk, harmless: true, costs: full,
	begin: func(w *world, _ event) error { return w.sender.disk.fill() },
	end:   func(w *world, _ event) error { return w.sender.disk.free() },
}}

func needsSender(w *world) string { return w.noSender }

func needsSenderDisk(w *world) string {
	if w.noSender != "" {
		return w.noSender
	}
	return w.sender.noDisk
}

func startSender(w *world, _ event) error { return w.sender.start() }

func signalSender(s syscall.Signal) func(*world, event) error {
	return func(w *world, _ event) error { return w.sender.signal(s) }
}
