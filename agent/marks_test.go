package agent_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// rewriteMarks changes a field of what delivery.json holds.
func rewriteMarks(t *testing.T, dir, field string, value any) {
	t.Helper()
	path := filepath.Join(dir, "delivery.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var env struct {
		Version  int             `json:"version"`
		Checksum string          `json:"checksum"`
		State    json.RawMessage `json:"state"`
	}
	if err := json.Unmarshal(b, &env); err != nil {
		t.Fatal(err)
	}
	state := map[string]json.RawMessage{}
	if err := json.Unmarshal(env.State, &state); err != nil {
		t.Fatal(err)
	}
	if state[field], err = json.Marshal(value); err != nil {
		t.Fatal(err)
	}
	if env.State, err = json.Marshal(state); err != nil {
		t.Fatal(err)
	}
	env.Checksum = fmt.Sprintf("%08x", crc32.Checksum(env.State, crc32.MakeTable(crc32.Castagnoli)))
	if b, err = json.Marshal(env); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestStopBeforeTheFirstApply: an agent that is stopped while it waits for the
// clock knows no destinations yet, and must not forget what they still lack.
func TestStopBeforeTheFirstApply(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 20})
	r.start()
	r.awaitState("one", delivery.Live)
	r.outage(func() {
		r.awaitScrapes(one, 10)
		r.stop()
		rewriteMarks(t, r.options.StoragePath, "written", time.Now().Add(time.Hour).UnixMilli())
		r.setBack = true
		a, stop := r.inProcess(agent.Options{MaxClockWait: time.Hour})
		r.eventually("the agent to wait for the clock", func() error {
			if waiting := a.Status().Waiting; !strings.Contains(waiting, "clock") {
				return fmt.Errorf("it waits for %q", waiting)
			}
			return nil
		})
		stop()
		r.start()
	})
	r.awaitAll(r.endpoint, one)
	r.awaitLedger("one", r.endpoint)
}

// TestReloadKeepsBacklogs: while a reload stops one destination after the
// other, what those still lack must not be released.
func TestReloadKeepsBacklogs(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.SegmentSize = 32 << 10
	r.options.TruncateInterval = 2 * time.Second
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 300})
	const hanging = 4
	endpoints := []*agenttest.Endpoint{r.endpoint}
	for i := range hanging {
		e, err := agenttest.NewEndpoint(agenttest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.Close)
		endpoints = append(endpoints, e)
		r.writes += r.write(fmt.Sprintf("hanging%d", i), e, "")
	}
	r.writes = strings.ReplaceAll(r.writes, "remote_timeout: 5s", "remote_timeout: 30s")
	for _, e := range endpoints[1:] {
		e.Respond(agenttest.Answer{Delay: time.Hour})
	}
	r.start()
	r.awaitState("one", delivery.Live)
	for i := range hanging {
		r.awaitState(fmt.Sprintf("hanging%d", i), delivery.Behind)
	}
	r.awaitScrapes(one, 40) // some segments
	r.global = "  external_labels: {site: b}"
	begun := time.Now()
	if err := r.reload(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > hung {
		t.Errorf("the reload took %s", took)
	}
	for _, e := range endpoints {
		e.Recover()
	}
	for _, e := range endpoints {
		r.awaitAll(e, one)
	}
}

// TestReloadAfter413: a reload that changes nothing must not take back the
// batch size that a 413 has taught: upstream would begin a new queue unseen.
func TestReloadAfter413(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 20})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 5)
	r.endpoint.RespondNext(agenttest.NginxError(413))
	r.awaitState("one", delivery.Behind)
	r.awaitState("one", delivery.Live)
	for range 3 {
		// Upstream's queue has read some scrapes and cannot flush them.
		r.endpoint.Respond(agenttest.Answer{Delay: time.Hour})
		r.awaitScrapes(one, 5)
		if err := r.reload(); err != nil {
			t.Fatal(err)
		}
		r.endpoint.Recover()
		r.awaitScrapes(one, 5)
	}
	r.awaitAll(r.endpoint, one)
	r.awaitLedger("one", r.endpoint)
}

// TestVanishedCertificate: a destination's CA file that is gone for a while
// must not disturb upstream's other queues, nor bring the process down.
func TestVanishedCertificate(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	other, err := agenttest.NewEndpoint(agenttest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	ca := writeFile(t, r.dir, "ca.pem", other.CA())
	r.writes += strings.Replace(r.write("two", other, ""), "insecure_skip_verify: true", "ca_file: "+ca, 1)
	third, err := agenttest.NewEndpoint(agenttest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(third.Close)
	r.writes += r.write("three", third, "")
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 20})
	r.start()
	for _, name := range []string{"one", "two", "three"} {
		r.awaitState(name, delivery.Live)
	}
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	for range 6 { // upstream's order of queues is random
		r.endpoint.RespondNext(agenttest.EmptyRing())
		r.awaitState("one", delivery.Behind)
		r.awaitScrapes(one, 5)
	}
	writeFile(t, r.dir, "ca.pem", other.CA())
	for _, name := range []string{"one", "two", "three"} {
		r.awaitState(name, delivery.Live)
	}
	r.awaitScrapes(one, 5)
	for _, e := range []*agenttest.Endpoint{r.endpoint, other, third} {
		r.awaitAll(e, one)
	}
}

// TestRelabelledAway: what write relabelling drops is counted once, and moves
// the mark and frees segments although nothing is ever sent.
func TestRelabelledAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.SegmentSize = 32 << 10
	r.options.MinStay = time.Hour // stays behind once it has been live
	r.writes += "    write_relabel_configs: [{source_labels: [__name__], regex: agenttest_gauge, action: drop}]\n"
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 400})
	r.start()
	r.awaitState("one", delivery.Live)
	r.endpoint.RespondNext(agenttest.EmptyRing())
	r.awaitState("one", delivery.Behind)
	r.outage(func() { r.awaitScrapes(one, 150) })
	r.eventually("the ledger to add up", func() error {
		l := r.destination("one").Ledger
		if sum := l.Delivered + ledger.Total(l.Refused) + ledger.Total(l.Filtered) + ledger.Total(l.Uncertain) + l.Evicted; sum > l.Appended || l.OnDisk > 2000 {
			return fmt.Errorf("appended %d, accounted for %d: %+v", l.Appended, sum, l)
		}
		if l.Filtered["relabelled"] == 0 {
			return errors.New("nothing was filtered")
		}
		return nil
	})
	l := r.awaitLedger("one", r.endpoint)
	t.Logf("%+v", l)
}

// TestKilledBeforeAReceiverThatRollsBack: after a crash, the batch in which
// what is there already meets what is not must not be taken for delivered.
func TestKilledBeforeAReceiverThatRollsBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.options.SyncInterval = time.Hour // the marks are old after a crash
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 3})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 10)
	r.eventually("some scrapes to arrive", func() error {
		if n := r.endpoint.Snapshot().Accepted; n < 50 {
			return fmt.Errorf("%d samples so far", n)
		}
		return nil
	})
	r.outage(func() {
		r.awaitScrapes(one, 10)
		r.kill()
	})
	r.start()
	r.awaitAll(r.endpoint, one)
	r.awaitLedger("one", r.endpoint)
}

// TestStopWithHangingEndpoint: samples that upstream's queue never sends must
// not hold up the stop when the endpoint does not answer.
func TestStopWithHangingEndpoint(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.writes = strings.Replace(r.writes, "remote_timeout: 5s", "remote_timeout: 30s", 1)
	r.options.MaxLiveLag = time.Hour
	one := r.targets.Add("one", agenttest.TargetOptions{Explicit: []time.Duration{-10 * time.Minute}})
	two := r.targets.Add("two", agenttest.TargetOptions{Series: 5})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 5)
	r.endpoint.Respond(agenttest.Answer{Delay: time.Hour})
	r.awaitScrapes(two, 3)
	r.stop()
	r.endpoint.Recover()
	r.start()
	r.awaitScrapes(one, 5)
	r.awaitAll(r.endpoint, one, two)
}

// TestAliveInLongPause: an endpoint that wants to be left alone for long does
// not make the agent look stuck, and neither does a new configuration.
func TestAliveInLongPause(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.writes = strings.Replace(r.writes, "remote_timeout: 5s", "remote_timeout: 500ms", 1)
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 5})
	r.start()
	r.awaitState("one", delivery.Live)
	r.endpoint.Respond(agenttest.Answer{Status: 429, Header: http.Header{"Retry-After": {"3600"}}})
	refused := func() int64 { return r.endpoint.Snapshot().Counters.Answers[429].Requests }
	r.eventually("upstream's queue and the drainer to be sent away", func() error {
		if n := refused(); n < 2 {
			return fmt.Errorf("%d of 2 so far", n)
		}
		return nil
	})
	asked := refused()
	r.awaitScrapes(one, 15)
	if body, code, err := r.get("/alive"); err != nil || code != http.StatusOK {
		t.Errorf("not alive: %v %s", err, body)
	}
	if now := refused(); now > asked {
		t.Errorf("it was asked %d times in a pause", now-asked)
	}
	r.stop()
}

// TestLedgerWithoutMarks: when the marks are lost, what is on disk counts as
// appended, because it will be delivered.
func TestLedgerWithoutMarks(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 20})
	r.outage(func() {
		r.start()
		r.awaitScrapes(one, 10)
		r.kill()
		flip(t, filepath.Join(r.options.StoragePath, "delivery.json"))
		r.start()
	})
	r.awaitScrapes(one, 5)
	r.awaitAll(r.endpoint, one)
	r.awaitLedger("one", r.endpoint)
}

// TestWatcherBeginsAgain: after an error upstream's WAL watcher begins again at
// now, and never sends what was committed in between.
func TestWatcherBeginsAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.MaxLiveLag = time.Minute
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 20})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 5)
	wal := filepath.Join(r.options.StoragePath, "wal")
	if err := os.Rename(wal, wal+".away"); err != nil {
		t.Fatal(err)
	}
	r.eventually("the watcher to fail", func() error {
		if !strings.Contains(r.log.String(), "error tailing WAL") {
			return errors.New("it has not yet")
		}
		return nil
	})
	if err := os.Rename(wal+".away", wal); err != nil {
		t.Fatal(err)
	}
	r.awaitScrapes(one, 40) // it pauses for 5 s
	r.awaitAll(r.endpoint, one)
	r.awaitLedger("one", r.endpoint)
}
