// Command opstrace-sandbox is an Opstrace cluster in a box, on loopback: a push
// endpoint with a tenant, its token and its certificate, and targets to scrape.
// It can be put into trouble over a small control API and tells what arrived.
// The demo, the shell tests and the benchmark use it; nothing is written to
// disk but a few small files that say how to reach it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "opstrace-sandbox:", err)
		os.Exit(exitUsage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "opstrace-sandbox:", err)
		stop()
		os.Exit(exitFailed)
	}
}

// options are the command line.
type options struct {
	dir            string
	controlAddr    string
	targetsAddr    string
	token          string
	keep           string
	endpoint       agenttest.Options
	targets        int
	target         agenttest.TargetOptions
	interval       time.Duration
	reportInterval time.Duration
}

// The values of flags that are one of a few.
var (
	remoteWrite2 = map[string]agenttest.RemoteWrite2{
		"reject": agenttest.RejectRemoteWrite2, "ignore": agenttest.IgnoreRemoteWrite2, "accept": agenttest.AcceptRemoteWrite2,
	}
	tlsStates = map[string]agenttest.TLSState{
		"trusted": agenttest.TLSTrusted, "untrusted": agenttest.TLSUntrusted, "refused": agenttest.TLSRefused,
	}
)

func parse(args []string) (options, error) {
	var o options
	app := kingpin.New("opstrace-sandbox", "An Opstrace cluster in a box, on loopback, with targets to scrape.")
	app.HelpFlag.Short('h')
	app.Flag("dir", "Directory for the files that say how to reach the sandbox: "+addressFile+", "+tokenFile+", "+caFile+", "+scrapeFile+".").
		Required().StringVar(&o.dir)
	app.Flag("endpoint.listen-address", "Where to take remote write.").Default("127.0.0.1:0").StringVar(&o.endpoint.Addr)
	app.Flag("targets.listen-address", "Where to serve the targets.").Default("127.0.0.1:0").StringVar(&o.targetsAddr)
	app.Flag("control.listen-address", "Where to serve the control API.").Default("127.0.0.1:0").StringVar(&o.controlAddr)
	app.Flag("plain-http", "Take remote write over http instead of https.").BoolVar(&o.endpoint.PlainHTTP)
	app.Flag("token", "Bearer token of the tenant default.").Default(agenttest.DefaultToken).StringVar(&o.token)
	app.Flag("rate-limit", "Samples a second that the endpoint takes; 0 is no limit.").Default("0").Float64Var(&o.endpoint.RateLimit)
	app.Flag("window", "How far a sample may lie behind the newest one; negative is no limit.").Default("1h").DurationVar(&o.endpoint.Window)
	app.Flag("out-of-order-window", "How far a sample may lie behind its series; 0 refuses all that do.").Default("0s").DurationVar(&o.endpoint.OutOfOrderWindow)
	app.Flag("all-or-nothing", "Refuse a whole request for one bad sample, as Prometheus does.").BoolVar(&o.endpoint.AllOrNothing)
	rw2 := app.Flag("remote-write-2", "What becomes of remote write 2.0: reject, ignore, accept.").Default("reject").Enum("reject", "ignore", "accept")
	app.Flag("keep", "Which samples to keep in memory, 24 bytes each: all, or those of scrapes, which say what is missing.").
		Default("all").EnumVar(&o.keep, "all", "scrapes")
	app.Flag("targets", "How many targets to serve.").Default("5").IntVar(&o.targets)
	app.Flag("target.series", "Gauges of each target.").Default("100").IntVar(&o.target.Series)
	app.Flag("target.churn", "Series of each target that no two scrapes share.").Default("0").IntVar(&o.target.Churn)
	app.Flag("target.histograms", "Native histograms of each target.").Default("1").IntVar(&o.target.Histograms)
	app.Flag("target.exemplars", "Expose exemplars.").Default("true").BoolVar(&o.target.Exemplars)
	app.Flag("target.interval", "Scrape interval in "+scrapeFile+".").Default("1s").DurationVar(&o.interval)
	app.Flag("report-interval", "How often to print what arrived; 0 is never.").Default("5s").DurationVar(&o.reportInterval)
	if _, err := app.Parse(args); err != nil {
		return o, err
	}
	o.endpoint.RemoteWrite2 = remoteWrite2[*rw2]
	if o.endpoint.Window == 0 {
		return o, errors.New("--window: 0 would refuse all but the newest; a negative window is no limit")
	}
	if o.targets < 0 || o.target.Series < 0 || o.target.Churn < 0 || o.target.Histograms < 0 {
		return o, errors.New("a number of targets or series is negative")
	}
	return o, nil
}

// run runs the sandbox until ctx ends.
func run(ctx context.Context, o options, stdout io.Writer) error {
	s, err := newSandbox(o)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.writeFiles(); err != nil {
		return err
	}
	defer s.removeAddresses()
	fmt.Fprintf(stdout, "endpoint  %s\ntargets   http://%s\ncontrol   %s\nfiles     %s\n", s.endpoint.URL(), s.targets.Addr(), s.controlURL(), s.options.dir)
	s.report(ctx, stdout)
	return nil
}
