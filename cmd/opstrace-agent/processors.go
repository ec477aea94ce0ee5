package main

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/pulse"
)

const (
	// processorsTick is how often it is looked at how much the process computes.
	processorsTick = 5 * time.Second
	// Of one processor's time. What lies between leaves things as they are, so that a
	// steady load does not have them go to and fro.
	muchComputing   = 0.5
	littleComputing = 0.2
)

// followLoad lets the Go runtime use one processor while there is little to compute, and
// all that the quota allows while there is more: with several, each wake for a
// scrape, a timer or an answer wakes threads that look for work and find none, which is a
// fifth of what the agent takes at rest.
func followLoad(ctx context.Context, logger log.Logger) {
	one := false
	before, at := processTime(), time.Now()
	for pulse.Wait(ctx, processorsTick) {
		used, now := processTime(), time.Now()
		share := (used - before).Seconds() / now.Sub(at).Seconds()
		before, at = used, now
		next := oneProcessor(one, share)
		if next == one {
			continue
		}
		if one = next; one {
			runtime.GOMAXPROCS(1)
		} else {
			// With the container's quota, which it follows from here on.
			runtime.SetDefaultGOMAXPROCS()
		}
		level.Debug(logger).Log("msg", "GOMAXPROCS changed", "new", runtime.GOMAXPROCS(0), "share", share)
	}
}

// oneProcessor reports whether one processor is enough for a process that took so much of
// one lately.
func oneProcessor(one bool, share float64) bool {
	if one {
		return share < muchComputing
	}
	return share < littleComputing
}

// chosenProcessors reports whether the user has chosen how many there are.
func chosenProcessors(auto bool) bool {
	return !auto || os.Getenv("GOMAXPROCS") != ""
}

// processTime is the processor time of this process until now.
func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
