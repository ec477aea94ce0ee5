// Command torture runs the agent's real binary through trouble that is drawn from a seed,
// and judges it from outside: targets know what they answered, endpoints know what they
// stored, and the rules (rules.go) compare both with the ledger. It ends with one line of
// counts, or with the rules that were broken, the directory of the run, and the shortest
// schedule that still breaks one of them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"
)

const (
	exitBroken = 1 // a rule was
	exitFailed = 2 // nothing can be said about the agent
)

// runDir is what the names of the directories of runs begin with.
const runDir = "opstrace-agent-torture-"

// shortest is settling, and a little trouble.
const shortest = settling + 20*time.Second

type options struct {
	agent             program
	schedule          string
	length, shrinkFor time.Duration
	seed              uint64
}

func main() {
	// The agent is to end with this process, however it ends: the kernel takes the thread
	// that started it for it.
	runtime.LockOSThread()
	var o options
	flag.StringVar(&o.agent.path, "agent", "bin/opstrace-agent", "the agent's binary")
	flag.BoolVar(&o.agent.clock, "clock", false, "that binary is the test binary of cmd/opstrace-agent, whose clock can be set")
	flag.StringVar(&o.agent.other, "other", "", "the binary of another version, which takes the directory over now and then")
	flag.StringVar(&o.schedule, "schedule", "", "a file with a schedule; nothing: it is drawn from the seed")
	flag.DurationVar(&o.length, "for", 2*time.Minute, "how long to go on, the time to be well again included")
	flag.Uint64Var(&o.seed, "seed", 0, "what the schedule follows from; 0: another one each time")
	flag.DurationVar(&o.shrinkFor, "shrink-for", 10*time.Minute, "how long to look for a shorter schedule that breaks a rule; 0: not at all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	breaches, err := torture(ctx, o)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(exitFailed)
	case len(breaches) > 0:
		os.Exit(exitBroken)
	}
}

func torture(ctx context.Context, o options) ([]breach, error) {
	s, err := scheduleOf(o)
	if err != nil {
		return nil, err
	}
	fmt.Printf("seed %d, %s, %d injections\n", s.seed, s.length, len(s.events))
	dir, err := os.MkdirTemp("", runDir)
	if err != nil {
		return nil, err
	}
	f, err := play(ctx, s, dir, o.agent, func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
	if err != nil {
		return nil, fmt.Errorf("%w; everything is kept in %s", err, dir)
	}
	breaches := judge(f)
	if len(breaches) == 0 {
		fmt.Println(sum(f))
		return nil, os.RemoveAll(dir)
	}
	report(breaches)
	fmt.Printf("configuration, log, data and schedule are in %s; again: make torture TORTURE_SCHEDULE=%s\n", dir, filepath.Join(dir, "schedule"))
	fmt.Println(sum(f))
	return breaches, shorten(ctx, s, breaches, dir, o)
}

func scheduleOf(o options) (schedule, error) {
	if o.schedule != "" {
		file, err := os.Open(o.schedule)
		if err != nil {
			return schedule{}, err
		}
		defer file.Close()
		s, err := parse(file)
		if err != nil {
			return s, fmt.Errorf("%s: %w", o.schedule, err)
		}
		return s, nil
	}
	if o.length < shortest {
		return schedule{}, fmt.Errorf("%s is too short: %s are for the end, so give it %s", o.length, settling, shortest)
	}
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	return draw(o.seed, o.length), nil
}

func report(breaches []breach) {
	const most = 10
	for _, b := range breaches {
		fmt.Println("BROKEN:", b.rule)
		for _, how := range b.how[:min(most, len(b.how))] {
			fmt.Println("    " + how)
		}
		if more := len(b.how) - most; more > 0 {
			fmt.Printf("    and %d more\n", more)
		}
	}
}

// shorten looks for a part of the schedule that breaks one of the same rules, and writes
// it beside the whole one.
func shorten(ctx context.Context, s schedule, breaches []breach, dir string, o options) error {
	deadline := time.Now().Add(o.shrinkFor)
	enough := func() bool { return ctx.Err() != nil || time.Now().After(deadline) }
	fails := func(events []event) bool {
		broken, err := breaks(ctx, schedule{s.seed, s.length, events}, breaches, o.agent)
		if err != nil {
			fmt.Println("shortening:", err)
		}
		fmt.Printf("shortening: %d of %d injections, broken: %t\n", len(events), len(s.events), broken)
		return broken
	}
	short := shrink(s.events, fails, enough)
	if len(short) == len(s.events) {
		fmt.Println("No shorter schedule was found that breaks it.")
		return nil
	}
	path := filepath.Join(dir, "schedule.short")
	fmt.Printf("%d of %d injections are enough: make torture TORTURE_SCHEDULE=%s\n", len(short), len(s.events), path)
	return os.WriteFile(path, []byte(schedule{s.seed, s.length, short}.String()), 0o640)
}

// breaks reports whether a schedule breaks one of the rules that were broken before.
func breaks(ctx context.Context, s schedule, before []breach, agent program) (bool, error) {
	dir, err := os.MkdirTemp("", runDir)
	if err != nil {
		return false, err
	}
	f, err := play(ctx, s, dir, agent, func(string, ...any) {})
	err = errors.Join(err, os.RemoveAll(dir))
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(judge(f), func(b breach) bool {
		return slices.ContainsFunc(before, func(o breach) bool { return o.rule == b.rule })
	}), nil
}
