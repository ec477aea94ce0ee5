// Command fleet lets many agents, in one process and sharing nothing but the code, send
// to one endpoint with limits, takes it away, gives it back, and tells how they come
// back: how long it takes, how many requests are refused, whether they come all at
// once, how late the samples of an agent without a backlog are meanwhile, and whether
// everything has arrived exactly once. It fails where something is missing.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	o := options{batchDeadline: 5 * time.Second, minStay: 30 * time.Second}
	flag.IntVar(&o.agents, "agents", 200, "how many agents are there from the beginning")
	flag.IntVar(&o.newcomers, "newcomers", 10, "how many begin while the others come back, one a second")
	flag.IntVar(&o.series, "series", 24, "of each agent's target; five more tell of its scrapes")
	flag.DurationVar(&o.interval, "interval", time.Second, "between two scrapes of a target")
	flag.DurationVar(&o.warm, "warm", 20*time.Second, "how long all are live before the outage")
	flag.DurationVar(&o.outage, "outage", 60*time.Second, "how long the endpoint is away")
	flag.IntVar(&o.answer, "answer", 0, "what it answers meanwhile, such as 503; 0: it refuses connections")
	flag.Float64Var(&o.sampleLimit, "sample-limit", 4, "how many samples a second it takes, as a multiple of what all scrape; 0: any")
	flag.Float64Var(&o.requestLimit, "request-limit", 4, "how many requests a second it takes, as a multiple of what all send while live; 0: any")
	flag.Parse()
	o.newcomerEvery = time.Second
	// An hour has 30 times the two minutes after which a live destination goes behind.
	o.maxLiveLag = o.outage / 30

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}
