package main

import "time"

// stepped are the terms that a clock costs: the storage takes nothing older than it has,
// and an endpoint neither that nor what lies ahead.
var stepped = []string{rejected, refused, uncertain}

var ofClock = []manner{
	{
		kind: "clock-back", weight: 1, lasts: seconds(3, 30), noticed: told, costs: stepped, needs: needsClock,
		args: oneOf("by", "-30s", "-10m", "-2h"), begin: setClock, end: resetClock,
	},
	{
		kind: "clock-ahead", weight: 1, lasts: seconds(3, 30), costs: stepped, needs: needsClock,
		args: oneOf("by", "30s", "5m", "2h"), begin: setClock, end: resetClock,
	},
}

func setClock(w *world, e event) error {
	by, err := time.ParseDuration(e.arg("by"))
	if err != nil {
		return err
	}
	return w.clock.set(by)
}

func resetClock(w *world, _ event) error { return w.clock.set(0) }

func needsClock(w *world) string {
	if w.clock == "" {
		return "the clock of this binary cannot be set: TORTURE_CLOCK=1"
	}
	return ""
}
