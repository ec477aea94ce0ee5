package delivery

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestSampleAgeLimit: what is too old for the configuration is filtered out of the
// backlog, and counted.
func TestSampleAgeLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.queue = strings.Replace(r.queue, "{", "{sample_age_limit: 1m, ", 1)
	r.openBehind()
	app := r.append.AppenderV2(t.Context())
	r.add(app, labels.FromStrings("__name__", "old"), time.Now().Add(-2*time.Minute), 1)
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	r.scrapes(2, 20)
	r.one().Recover()
	if l := r.awaitSettled("one"); l.Filtered["too_old"] != 1 || l.Delivered+l.Filtered["too_old"] != l.Appended {
		t.Errorf("%+v", l)
	}
}

// TestCatchUpRate: a backlog is not sent faster than is allowed, unless that is
// slower than it grows.
func TestCatchUpRate(t *testing.T) {
	t.Parallel()
	c := newCatchUpRate(1000)
	if wait := c.delay(leastBurst); wait != 0 {
		t.Errorf("the burst waits for %s", wait)
	}
	if wait := c.delay(5000); wait < 4*time.Second || wait > 6*time.Second {
		t.Errorf("5 s of samples wait for %s", wait)
	}
	if wait := c.delay(3 * leastBurst); wait < 34*time.Second || wait > 36*time.Second {
		t.Errorf("behind them, 30 s of samples in one request wait for %s", wait)
	}
	c.follow(10_000)
	if limit := c.limiter.Limit(); limit != 20_000 {
		t.Errorf("the rate is %v", limit)
	}
	c.follow(1)
	if limit := c.limiter.Limit(); limit != 1000 {
		t.Errorf("the rate is %v", limit)
	}
	unbounded := newCatchUpRate(0)
	unbounded.follow(1)
	if wait := unbounded.delay(1 << 30); wait != 0 {
		t.Errorf("no bound waits for %s", wait)
	}
	r := newRig(t, agenttest.Manners{})
	r.options.MaxCatchUpRate = 1e9
	r.openBehind()
	r.scrapes(2, 20)
	r.one().Recover()
	r.awaitSettled("one")
}

// TestMetrics: the metrics say what the status says.
func TestMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	r.awaitState("one", Live)
	r.scrapes(3, 20)
	r.awaitSettled("one")
	queues, own := r.delivery.Collectors()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(own)
	err := testutil.GatherAndCompare(reg, strings.NewReader(`# HELP opstrace_agent_delivery_delivered_samples_total Samples that the endpoint acknowledged or already had.
# TYPE opstrace_agent_delivery_delivered_samples_total counter
opstrace_agent_delivery_delivered_samples_total{destination="one"} 60
# HELP opstrace_agent_delivery_lost_samples_total Samples that were appended and not found on disk when it was read: a power cut, a damaged or a removed file.
# TYPE opstrace_agent_delivery_lost_samples_total counter
opstrace_agent_delivery_lost_samples_total{destination="one"} 0
# HELP opstrace_agent_delivery_state 1 for the state that the destination is in, 0 for the others.
# TYPE opstrace_agent_delivery_state gauge
opstrace_agent_delivery_state{destination="one",state="behind"} 0
opstrace_agent_delivery_state{destination="one",state="handing over"} 0
opstrace_agent_delivery_state{destination="one",state="live"} 1
`), "opstrace_agent_delivery_delivered_samples_total", "opstrace_agent_delivery_lost_samples_total", "opstrace_agent_delivery_state")
	if err != nil {
		t.Error(err)
	}
	if families, err := queues.Gather(); err != nil || len(families) < 20 {
		t.Errorf("%d families of upstream's queues, %v", len(families), err)
	}
	if err := r.delivery.Alive(time.Minute); err != nil {
		t.Error(err)
	}
	if r.delivery.LastCommit().IsZero() {
		t.Error("no commit is known")
	}
	if err := r.delivery.Alive(-time.Hour); err == nil {
		t.Error("a loop that made no step for an hour is alive")
	}
	select {
	case err := <-r.delivery.Failure():
		t.Error(err)
	default:
	}
}

// TestManySegments: a cursor forgets, every now and then, the series that are gone;
// live and behind.
func TestManySegments(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.store.SegmentSize = 32 << 10
	r.addDestination("behind", agenttest.Manners{})
	r.options.MinStay = time.Hour
	r.open()
	r.awaitState("one", Live)
	r.awaitState("behind", Live)
	r.goBehind("behind")
	for range 30 {
		r.scrapes(5, 1000)
		r.awaitSettled("one")
	}
	r.endpoints["behind"].Recover()
	r.checkDelivered("one")
	r.checkDelivered("behind")
	if end := r.backlog.End(); end.Segment < 2*cursorSegments {
		t.Errorf("it is only in segment %d", end.Segment)
	}
}

// TestDamageWhileLive: a segment that cannot be read takes a live destination
// behind, where what is left of it is delivered and the rest counted.
func TestDamageWhileLive(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.openBehind()
	r.scrapes(10, 200)
	// What is damaged has been written and not been read.
	path := filepath.Join(r.dir, "wal", fmt.Sprintf("%08d", r.backlog.End().Segment))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(strings.Repeat("x", 64)), fi.Size()/2); err != nil {
		t.Fatal(err)
	}
	r.crash() // the damaged segment is a finished one
	r.pass()
	r.one().Recover()
	r.options.MinStay = 0
	r.open()
	r.scrapes(1, 200)
	l := r.awaitSettled("one")
	if l.LostStretches == 0 || l.Delivered != r.accepted("one") || l.Delivered < 200 {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
}
