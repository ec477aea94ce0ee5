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
	t.Parallel()
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
	o.awaitStored(o.endpoint, "", targets...)
	o.awaitStored(o.endpoint, "agenttest_explicit", targets[1])
	for _, metric := range []string{"agenttest_histogram", "agenttest_float_histogram"} {
		o.awaitStored(o.endpoint, metric, targets[2])
	}
	if o.endpoint.Snapshot().Exemplars == 0 {
		o.t.Error("no exemplars")
	}
	o.checkNothingLost(o.endpoint)
	o.awaitLedger("one", o.endpoint)
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
		o.stop()
		o.start()
	case 6:
		o.kill()
		o.start()
	}
}
