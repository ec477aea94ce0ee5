package agent_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// TestProperty drives the real queue manager through random trouble: failures
// of several batches in a row, outages, restarts and kills after parts of the
// backlog have been unlinked, with old and future timestamps, churn, native
// histograms and exemplars. Whatever happens, what was committed arrives, and
// each series in order.
func TestProperty(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			(&ordeal{rig: newRig(t, agenttest.Manners{RemoteWrite2: agenttest.AcceptRemoteWrite2}), rand: rand.New(rand.NewPCG(seed, 1)), v2: seed%2 == 1}).run()
		})
	}
}

// stamp is the format of the agent's log.
const stamp = "15:04:05.000"

type ordeal struct {
	*rig

	rand *rand.Rand
	v2   bool
	// cuts are the times around which the agent was not running: a scrape on
	// its way then was never committed.
	cuts []time.Time
}

func (o *ordeal) run() {
	o.options.SegmentSize = 32 << 10
	o.options.TruncateInterval = 1500 * time.Millisecond
	o.global = "  scrape_native_histograms: true"
	extra := "    send_native_histograms: true\n    send_exemplars: true\n"
	if o.v2 {
		extra += "    protobuf_message: io.prometheus.write.v2.Request\n"
	}
	o.writes = o.write("one", o.endpoint, extra)
	targets := []*agenttest.Target{
		o.targets.Add("plain", agenttest.TargetOptions{Series: 100, Churn: 5}),
		o.targets.Add("explicit", agenttest.TargetOptions{Explicit: []time.Duration{-10 * time.Minute, 9 * time.Minute}}),
		o.targets.Add("histograms", agenttest.TargetOptions{Histograms: 3, FloatHistograms: 2, Exemplars: true}),
	}
	o.start()
	for range 8 {
		o.step()
		o.awaitScrapes(targets[0], 3+o.rand.IntN(10))
	}
	o.endpoint.Recover()
	_ = o.endpoint.Up()
	o.awaitState("one", delivery.Live)
	o.awaitScrapes(targets[0], 5)
	before := time.Now().Add(-settleMargin)
	o.eventually("every scrape to arrive", func() error {
		s := o.endpoint.Snapshot()
		for _, target := range targets {
			if err := o.complete(s, target, "", before); err != nil {
				return err
			}
		}
		if err := o.complete(s, targets[1], "agenttest_explicit", before); err != nil {
			return err
		}
		for _, metric := range []string{"agenttest_histogram", "agenttest_float_histogram"} {
			if err := o.complete(s, targets[2], metric, before); err != nil {
				return err
			}
		}
		if s.Exemplars == 0 {
			return fmt.Errorf("no exemplars")
		}
		return nil
	})
	o.checkNothingLost(o.endpoint)
	o.awaitLedger("one", o.endpoint)
}

// complete checks that the scrapes of a target are stored, but for those that
// were on their way when the agent was not running.
func (o *ordeal) complete(s *agenttest.Snapshot, target *agenttest.Target, metric string, before time.Time) error {
	answered := target.Answered()
	for _, ordinal := range s.Scrapes(target, metric, before).Missing {
		at := answered[0].At
		for _, a := range answered {
			if a.Ordinal == ordinal {
				at = a.At
			}
		}
		excused := false
		for _, cut := range o.cuts {
			excused = excused || at.After(cut.Add(-settleMargin)) && at.Before(cut.Add(settleMargin))
		}
		if !excused {
			return fmt.Errorf("%s: scrape %d of %s is missing, answered at %s; cuts at %v", target.Name, ordinal, metric, at.UTC().Format(stamp), o.cuts)
		}
	}
	return nil
}

func (o *ordeal) step() {
	answers := mendable()
	names := []string{"401", "409", "503", "302", "reset", "404"}
	answer := answers[names[o.rand.IntN(len(names))]]
	kind := o.rand.IntN(7)
	o.t.Logf("%s: step %d, %d %q", time.Now().UTC().Format(stamp), kind, answer.Status, answer.Body)
	switch kind {
	case 0: // a few batches in a row
		for range 1 + o.rand.IntN(5) {
			o.endpoint.RespondNext(answer)
		}
	case 1: // a while
		o.endpoint.Respond(answer)
	case 2:
		o.endpoint.Recover()
		_ = o.endpoint.Up()
	case 3:
		_ = o.endpoint.Down()
	case 4: // the answer is lost, not the data
		o.endpoint.RespondNext(agenttest.Answer{Store: true, Reset: true}, agenttest.Answer{Store: true, Status: 502})
	case 5:
		o.cuts = append(o.cuts, time.Now())
		o.stop()
		o.start()
	case 6:
		o.cuts = append(o.cuts, time.Now())
		o.kill()
		o.start()
	}
}
