// Command bench measures the agent beside its peers: it builds prometheus as an agent,
// without discoveries and with all, and vmagent, lets each in turn scrape the same
// targets and send to the same sink, on loopback, and reads from /proc what they take.
// It prints a table beside the goals and writes it, with a picture, to a directory.
// Nothing is estimated: what cannot be built or measured is named and left out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"
)

func main() {
	// The children are to end with this process, however it ends: the kernel
	// takes the thread that started them for it.
	runtime.LockOSThread()
	var o options
	flag.StringVar(&o.agent, "agent", "bin/opstrace-agent", "the agent's binary")
	flag.StringVar(&o.dir, "dir", "bin/bench-peers", "where to write the table and the picture")
	flag.BoolVar(&o.quick, "quick", false, "one round of the small scenarios, without the default build of prometheus")
	flag.BoolVar(&o.guest, "guest", false, "what is missing in an emulated machine of 128 MB, instead")
	flag.IntVar(&o.rounds, "rounds", 0, "how often; 0: three times, once with -quick")
	flag.StringVar(&o.scenarios, "scenarios", "", "only those whose name matches this regular expression")
	flag.StringVar(&o.peers, "peers", "", "only those whose name matches this regular expression")
	flag.StringVar(&o.profiles, "profiles", "", "a directory for CPU profiles of the agent, instead")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	agent, dir       string
	quick, guest     bool
	rounds           int
	scenarios, peers string
	profiles         string
}

func run(ctx context.Context, o options) (err error) {
	if runtime.GOOS != "linux" {
		return errors.New("only Linux has the files in /proc that are measured")
	}
	p, err := o.plan()
	if err != nil {
		return err
	}
	if p.guest() {
		if lacks := guestLacks(); lacks != "" {
			fmt.Println("Skipped, no guest can be booted here:", lacks)
			return nil
		}
		if err := makeGuest(ctx); err != nil {
			return err
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("nowhere to keep the peers: %w", err)
	}
	cache = filepath.Join(cache, "opstrace-agent-bench")
	if err := os.MkdirAll(cache, 0o750); err != nil {
		return err
	}
	peers, missing := findPeers(ctx, cache, o.agent, p.peers)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(peers) == 0 {
		return fmt.Errorf("nothing to measure: %w", errors.Join(missing...))
	}
	// Not in /tmp, which may be memory: what is written is to reach a disk.
	work, err := os.MkdirTemp(cache, "run-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	report := report{machine: thisMachine(time.Now()), plan: p, peers: peers, missing: missing, results: results{}}
	fmt.Printf("About %s, for %d rounds of %d scenarios with %d programs.\n",
		(p.duration(len(peers)) + time.Minute/2).Truncate(time.Minute), p.rounds, len(p.scenarios), len(peers))
	if err := measureAll(ctx, work, o.profiles, &report); err != nil {
		return err
	}
	report.loadAfter = loadAverage()
	return report.publish(o.dir)
}

// plan is what there is to do.
func (o options) plan() (plan, error) {
	p := fullPlan
	if o.quick {
		p = quickPlan
	}
	if o.guest {
		p = guestPlan
	}
	if o.profiles != "" {
		p = profilePlan
	}
	if o.rounds > 0 {
		p.rounds = o.rounds
	}
	scenarios, err := regexp.Compile(o.scenarios)
	if err != nil {
		return p, fmt.Errorf("-scenarios: %w", err)
	}
	peers, err := regexp.Compile(o.peers)
	if err != nil {
		return p, fmt.Errorf("-peers: %w", err)
	}
	if p = p.only(scenarios, peers); len(p.scenarios) == 0 || len(p.peers) == 0 {
		return p, errors.New("-scenarios and -peers leave nothing to measure")
	}
	return p, nil
}

// measureAll runs every scenario with every peer, in rounds. A run that fails is said
// and leaves its figures out; only the end of ctx ends it all.
func measureAll(ctx context.Context, work, profiles string, r *report) error {
	for round := range r.plan.rounds {
		for _, s := range r.plan.scenarios {
			for _, p := range inTurn(r.peers, round) {
				fmt.Printf("%s  round %d  %-45s %s\n", time.Now().Format(time.TimeOnly), round+1, s.name, p.name)
				measured, err := measure(ctx, work, profiles, s, p)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				r.results.add(s.name, p.name, measured)
				if err != nil {
					err = fmt.Errorf("%s, round %d, %s: %w", s.name, round+1, p.name, err)
					fmt.Fprintln(os.Stderr, "bench:", err)
					r.failed = append(r.failed, err)
				}
			}
		}
	}
	return nil
}

// publish prints the table and writes it, with the picture, to dir.
func (r *report) publish(dir string) error {
	text := r.markdown()
	fmt.Printf("\n%s", text)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	name := filepath.Join(dir, "peers.md")
	if r.plan.guest() {
		name = filepath.Join(dir, "guest.md") // without a picture, which is of ratios to P
	}
	if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
		return err
	}
	if r.plan.guest() {
		fmt.Printf("\nWritten: %s\n", name)
		return nil
	}
	if err := os.WriteFile(filepath.Join(dir, "peers.svg"), []byte(r.svg()), 0o640); err != nil {
		return err
	}
	fmt.Printf("\nWritten: %s and %s\n", name, filepath.Join(dir, "peers.svg"))
	return nil
}
