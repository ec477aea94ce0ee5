package delivery

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestAnotherURL: what was tried at one endpoint is not taken for there already
// at another one, to which a reload sends the destination.
func TestAnotherURL(t *testing.T) {
	r := newRig(t, agenttest.Manners{})
	r.options.MinStay = time.Hour
	r.open()
	r.awaitState("one", Live)
	r.one().Respond(agenttest.Answer{Status: 401, Body: "bad authentication token"})
	r.scrapes(1, 20)
	r.awaitState("one", Behind)
	// The new endpoint, to which another agent of the tenant writes the same series.
	b := r.addDestination("new", agenttest.Manners{})
	delete(r.endpoints, "new")
	ahead := time.Now().Add(time.Minute).UnixMilli()
	post(t, b, labels.FromStrings("__name__", "m", "i", "0"), ahead, 1)
	for i := 1; i < 20; i++ {
		post(t, b, labels.FromStrings("__name__", "m", "i", strconv.Itoa(i)), ahead, 1)
	}
	held := b.Snapshot().Accepted
	r.endpoints["one"] = b
	r.apply()
	l := r.awaitSettled("one")
	if got := uint64(b.Snapshot().Accepted - held); l.Delivered != got {
		t.Errorf("the endpoint took %d, the ledger says %+v", got, l)
	}
}

// TestCrashBehindACleanFile: a run that cannot write delivery.json and is killed
// has crashed, although the file of the run before says that all ended in order.
func TestCrashBehindACleanFile(t *testing.T) {
	r := newRig(t, agenttest.Manners{})
	r.options.MinStay = 0
	r.open()
	r.awaitState("one", Live)
	r.scrapes(5, 20)
	r.awaitSettled("one")
	r.close() // in order
	block := filepath.Join(r.dir, "delivery.json.tmp")
	if err := os.Mkdir(block, 0o700); err != nil { // what a full disk or quota does
		t.Fatal(err)
	}
	r.pass()
	r.open()
	r.awaitState("one", Live)
	r.scrapes(20, 20)
	r.awaitSettled("one")
	image := r.copyDir()
	_ = os.Remove(filepath.Join(image, "delivery.json.tmp"))
	_ = os.Remove(block)
	r.close()
	r.dir = image
	r.pass()
	r.open()
	s := r.status("one")
	t.Logf("at the start: counting %t, %+v", s.Counting, s.Ledger)
	l := r.awaitSettled("one")
	if l.Delivered != r.accepted("one") || l.Delivered != l.Appended {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
}

// TestNotStoredIsNotTakenForStored: a live batch that is answered 401 is stored
// nowhere; what the endpoint refuses of it later, because somebody else wrote newer
// samples, is lost.
func TestNotStoredIsNotTakenForStored(t *testing.T) {
	r := newRig(t, agenttest.Manners{}) // Cortex
	r.options.MinStay = time.Hour
	r.open()
	r.awaitState("one", Live)
	ahead := time.Now().Add(time.Minute).UnixMilli()
	for i := range 20 {
		post(t, r.one(), labels.FromStrings("__name__", "m", "i", strconv.Itoa(i)), ahead, 1)
	}
	r.one().Respond(agenttest.Answer{Status: 401, Body: "bad authentication token"})
	r.scrapes(1, 20)
	r.awaitState("one", Behind)
	r.one().Recover()
	l := r.awaitSettled("one")
	if got := r.accepted("one") - 20; l.Delivered != got {
		t.Errorf("the endpoint took %d, the ledger says %+v", got, l)
	}
}

// TestLateSuccess: that late samples are acknowledged is shown.
func TestLateSuccess(t *testing.T) {
	r := newRig(t, agenttest.Manners{})
	r.open()
	r.awaitState("one", Live)
	app := r.append.AppenderV2(t.Context())
	r.add(app, labels.FromStrings("__name__", "late"), time.Now().Add(-time.Minute), 1)
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	l := r.awaitSettled("one")
	if s := r.status("one"); s.LastSuccess == nil {
		t.Errorf("delivered %d, and no success is told", l.Delivered)
	}
}
