package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// options are what a run is made of.
type options struct {
	agents, newcomers, series int
	interval                  time.Duration // of scrapes
	newcomerEvery             time.Duration
	warm, outage              time.Duration
	answer                    int // of the endpoint in the outage; 0: none
	// What the endpoint takes, as a multiple of what all agents send while live.
	sampleLimit, requestLimit float64
	batchDeadline             time.Duration
	maxLiveLag, minStay       time.Duration
	queue                     string // more of queue_config, after a comma
}

// scrapeSeries are what a scrape has beside what the target exposes.
const scrapeSeries = 5

// samplesPerSecond is what all agents scrape, requestsPerSecond how often they send it.
func (o options) samplesPerSecond() float64 {
	return float64((o.agents+o.newcomers)*(o.series+scrapeSeries)) / o.interval.Seconds()
}

func (o options) requestsPerSecond() float64 {
	return float64(o.agents+o.newcomers) / o.batchDeadline.Seconds()
}

// patience bounds every wait: a fleet that does not come back must not hang the run.
const patience = 10 * time.Minute

// fleet is an endpoint, targets, and the agents between them.
type fleet struct {
	options  options
	dir      string
	endpoint *agenttest.Endpoint
	targets  *agenttest.Targets

	agents, newcomers []*member
	ready             time.Time     // all are live
	down, up          time.Time     // the endpoint goes, and comes back
	back              time.Time     // all are live again
	ended             time.Time     // scraping is stopped
	spent             time.Duration // of processor time from up to back
}

// run plays it all, prints what was seen, and fails where something is missing.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience+o.warm+o.outage)
	defer cancel()
	f, err := newFleet(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	fmt.Fprintf(out, "%d agents with %d series each, scraped every %s; the endpoint takes %.0f samples and %.0f requests a second (0: any).\n",
		o.agents, o.series+scrapeSeries, o.interval, o.sampleLimit*o.samplesPerSecond(), o.requestLimit*o.requestsPerSecond())
	if err := f.play(ctx, out); err != nil {
		return err
	}
	return f.report(out)
}

func newFleet(o options) (f *fleet, err error) {
	f = &fleet{options: o}
	if f.dir, err = os.MkdirTemp("", "opstrace-agent-fleet-"); err != nil {
		return nil, err
	}
	f.endpoint, err = agenttest.NewEndpoint(agenttest.Options{
		PlainHTTP: true, // the handshakes of so many would be most of what is measured
		Keep: func(ls labels.Labels) bool {
			return ls.Get("__name__") == agenttest.ScrapesMetric
		},
	})
	if err == nil {
		f.targets, err = agenttest.NewTargets("127.0.0.1:0")
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// close ends everything, and leaves nothing behind.
func (f *fleet) close() error {
	errs := f.each(func(m *member) error { return m.stop() })
	if f.targets != nil {
		f.targets.Close()
	}
	if f.endpoint != nil {
		f.endpoint.Close()
	}
	return errors.Join(errs, os.RemoveAll(f.dir))
}

func (f *fleet) all() []*member {
	return append(f.agents[:len(f.agents):len(f.agents)], f.newcomers...)
}

// each does something with all agents at once.
func (f *fleet) each(do func(*member) error) error {
	all := f.all()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, m := range all {
		wg.Go(func() { errs[i] = do(m) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// startAtOnce is how many agents start at a time: on a machine that all start on at once,
// it takes seconds to start a queue, and what its first request holds is in doubt.
const startAtOnce = 10

// play is the story: all live, an outage, the return, and the end of scraping.
func (f *fleet) play(ctx context.Context, out io.Writer) error {
	o := f.options
	for i := range o.agents {
		m, err := f.start(fmt.Sprintf("agent-%03d", i))
		if err != nil {
			return err
		}
		f.agents = append(f.agents, m)
		if i%startAtOnce != startAtOnce-1 && i != o.agents-1 {
			continue
		}
		// No others: one of them may have gone behind meanwhile.
		if err := f.await(ctx, "all to be live", f.agents[i/startAtOnce*startAtOnce:], (*member).isLive); err != nil {
			return err
		}
	}
	f.ready = time.Now()
	f.endpoint.SetManners(agenttest.Manners{
		RateLimit:    o.sampleLimit * o.samplesPerSecond(),
		RequestLimit: o.requestLimit * o.requestsPerSecond(),
	})
	if err := sleep(ctx, o.warm); err != nil {
		return err
	}
	for _, m := range f.agents {
		if s := m.status(); s.State != delivery.Live {
			// It may stay so, which costs its samples no time.
			m.apart = true
			fmt.Fprintf(out, "%s is behind before the outage, and not waited for: %s\n", m.name, s.Why)
		}
	}
	fmt.Fprintf(out, "All others are live; the endpoint goes away for %s.\n", o.outage)
	if err := f.away(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "It is back.\n")
	if err := f.comeBack(ctx); err != nil {
		return err
	}
	// What was scraped last is sent with a batch that is not full.
	if err := sleep(ctx, 2*o.batchDeadline); err != nil {
		return err
	}
	f.ended = time.Now()
	if err := f.each((*member).stopScraping); err != nil {
		return err
	}
	return f.await(ctx, "all ledgers to add up", f.all(), (*member).settled)
}

// away is the outage.
func (f *fleet) away(ctx context.Context) error {
	f.down = time.Now()
	if f.options.answer != 0 {
		a := agenttest.NginxError(f.options.answer)
		f.endpoint.Respond(a)
	} else if err := f.endpoint.Down(); err != nil {
		return err
	}
	if err := sleep(ctx, f.options.outage); err != nil {
		return err
	}
	f.up = time.Now()
	f.endpoint.Recover()
	return f.endpoint.Up()
}

// comeBack waits until all agents are live again, while new ones begin.
func (f *fleet) comeBack(ctx context.Context) error {
	before := processorTime()
	for i := range f.options.newcomers {
		m, err := f.start(fmt.Sprintf("newcomer-%02d", i))
		if err != nil {
			return err
		}
		f.newcomers = append(f.newcomers, m)
		next := f.up.Add(time.Duration(i+1) * f.options.newcomerEvery)
		for time.Now().Before(next) {
			f.look()
			if err := sleep(ctx, min(lookEvery, time.Until(next))); err != nil {
				return err
			}
		}
	}
	err := f.await(ctx, "all to be live again", f.agents, func(*member) bool { return f.look() })
	f.back, f.spent = time.Now(), processorTime()-before
	if err != nil {
		return err
	}
	return f.await(ctx, "the newcomers to be live", f.newcomers, (*member).isLive)
}

// lookEvery is how often it is looked who is live.
const lookEvery = 250 * time.Millisecond

// look notes who is live, and reports whether all are.
func (f *fleet) look() bool {
	all := true
	for _, m := range f.agents {
		if m.live.IsZero() && m.isLive() {
			m.live = time.Now()
		}
		all = all && (m.apart || !m.live.IsZero())
	}
	return all
}

// await waits until something is so of each.
func (f *fleet) await(ctx context.Context, what string, of []*member, so func(*member) bool) error {
	for _, m := range of {
		for !so(m) {
			select {
			case <-m.done:
				return fmt.Errorf("waiting for %s: %w", what, errors.Join(errors.New(m.name+" has ended"), m.stop()))
			default:
			}
			if err := sleep(ctx, lookEvery); err != nil {
				st := m.status()
				return fmt.Errorf("waiting for %s, and %s is %s (%s; last error: %s): %w", what, m.name, st.State, st.Why, st.LastError, err)
			}
		}
	}
	return nil
}

// terms adds up the ledgers of all agents.
func (f *fleet) terms() (sum ledger.Terms) {
	for _, m := range f.all() {
		l := m.status().Ledger
		sum.Appended += l.Appended
		sum.Delivered += l.Delivered
	}
	return sum
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(max(d, 0)):
		return nil
	}
}

// refused reports whether an answer says that it was too much at once.
func refused(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}
