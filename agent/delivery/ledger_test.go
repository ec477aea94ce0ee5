package delivery

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/upstreamqueue"
)

// TestEvictedWhileRead: what is evicted from disk while a request of it is on its
// way is counted once, as delivered or as evicted.
func TestEvictedWhileRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.store.MaxBytes, r.store.SegmentSize = 1<<20, 32<<10
	r.openBehind()
	r.one().Respond(agenttest.Answer{Delay: 50 * time.Millisecond})
	for range 400 {
		r.scrapes(1, 1000)
		r.status("one") // checks that it adds up
	}
	r.one().Recover()
	l := r.awaitSettled("one")
	if l.Evicted == 0 {
		t.Fatalf("nothing was evicted: %+v", l)
	}
	if l.Lost != 0 || l.Delivered != r.accepted("one") || l.Delivered+l.Evicted != l.Appended || l.Appended+l.NotAppended != 400_001 {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
}

// TestCrash: after a kill the ledger adds up, and nothing is lost.
func TestCrash(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.SaveInterval = time.Hour // the marks in the file are old
	r.open()
	r.awaitState("one", Live)
	r.scrapes(20, 50)
	r.awaitSettled("one")
	r.goBehind("one")
	r.scrapes(20, 50)
	r.crash()
	r.pass()
	r.one().Recover()
	r.open()
	l := r.awaitSettled("one")
	if l.Lost != 0 || l.Delivered != l.Appended || r.accepted("one") != 2001 {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
	if lost := r.one().Snapshot().Lost(); len(lost) > 0 {
		t.Errorf("%d samples were lost", len(lost))
	}
}

// TestCrashWithFutureSamples: after a kill, samples that are stamped far ahead and
// are there already are not taken for refused.
func TestCrashWithFutureSamples(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.SaveInterval = time.Hour
	r.open()
	r.awaitState("one", Live)
	r.last = time.Now().Add(9 * time.Minute)
	r.scrapes(20, 50)
	r.awaitSettled("one")
	r.crash()
	r.open()
	l := r.awaitSettled("one")
	if l.Delivered != 1000 || l.Appended != 1000 {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
}

// TestPowerCut: samples that were counted as appended and are cut off the end of
// the WAL are lost, and said to be.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.openBehind()
	r.scrapes(20, 50)
	if err := r.delivery.marks.saveAndRelease(false); err != nil {
		t.Fatal(err)
	}
	r.crash()
	cutLastSegment(t, r.dir, 2000)
	r.pass()
	r.one().Recover()
	r.open()
	l := r.awaitSettled("one")
	if l.Lost == 0 || l.Lost > 500 || l.Appended != 1001 || l.Delivered+l.Lost != l.Appended || l.Delivered != r.accepted("one") {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
}

// TestSegmentRemoved: a finished segment that somebody removes costs what was in
// it, to the sample.
func TestSegmentRemoved(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.store.SegmentSize = 32 << 10
	r.openBehind()
	r.scrapes(100, 300)
	if err := r.delivery.marks.saveAndRelease(false); err != nil {
		t.Fatal(err)
	}
	r.crash()
	segments, err := filepath.Glob(filepath.Join(r.dir, "backlog", "*", "0*"))
	if err != nil || len(segments) < 4 {
		t.Fatal(segments, err)
	}
	for _, dir := range []string{filepath.Join(r.dir, "wal"), filepath.Dir(segments[2])} {
		if err := os.Remove(filepath.Join(dir, filepath.Base(segments[2]))); err != nil {
			t.Fatal(err)
		}
	}
	r.pass()
	r.one().Recover()
	r.open()
	l := r.awaitSettled("one")
	if l.Lost == 0 || l.LostStretches != 1 || l.Appended != 30_001 || l.Delivered+l.Lost != l.Appended || l.Delivered != r.accepted("one") {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
}

// cutLastSegment takes n bytes off the end of the newest segment, under all its
// names.
func cutLastSegment(t *testing.T, dir string, n int64) {
	t.Helper()
	for _, pattern := range []string{"wal/0*", "backlog/*/0*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(found) == 0 {
			t.Fatal(pattern, found, err)
		}
		last := found[len(found)-1]
		fi, err := os.Stat(last)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(last, fi.Size()-n); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWithoutMarks: everything on disk is sent and counted, without anybody
// waiting for the count.
func TestWithoutMarks(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.openBehind()
	r.scrapes(20, 50)
	r.crash()
	if err := os.Remove(filepath.Join(r.dir, "delivery.json")); err != nil {
		t.Fatal(err)
	}
	r.pass()
	r.one().Recover()
	r.open()
	r.scrapes(1, 50)
	l := r.awaitSettled("one")
	if l.Lost != 0 || l.Appended != 1051 || l.Delivered != l.Appended || r.accepted("one") != l.Appended {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
}

// TestCountingIsRemembered: what one run has not counted before it ends is counted
// by the next.
func TestCountingIsRemembered(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.SaveInterval = 0
	r.openBehind()
	old, err := os.ReadFile(filepath.Join(r.dir, "delivery.json"))
	if err != nil {
		t.Fatal(err)
	}
	r.scrapes(40, 500)
	want := r.status("one").Ledger.Appended
	r.crash()
	if err := os.WriteFile(filepath.Join(r.dir, "delivery.json"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	// A run that ends before it has counted anything.
	f, err := ledger.Load(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	book := ledger.NewBook(f.Generation+1, 0)
	book.Open("one", f.Destinations["one"], true)
	f.Generation, f.Clean, f.Tail, f.Destinations = f.Generation+1, true, backlog.Position{Generation: f.Generation + 1}, book.Saved()
	if _, err := ledger.Write(r.dir, f); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.eventually("all to be counted", func() error {
		if s := r.status("one"); s.Counting || s.Ledger.Appended != want {
			return fmt.Errorf("counting %t, %d of %d appended", s.Counting, s.Ledger.Appended, want)
		}
		return nil
	})
	r.pass()
	r.one().Recover()
	if l := r.awaitSettled("one"); l.Appended != want || l.Delivered != want || l.Delivered != r.accepted("one") {
		t.Errorf("%d were appended, the endpoint holds %d of %+v", want, r.accepted("one"), l)
	}
}

// TestHandOverFails: a hand-over that comes to nothing leaves nothing in memory.
func TestHandOverFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	r.awaitState("one", Live)
	r.goBehind("one")
	r.scrapes(3, 50)
	r.pass()
	// The queue cannot be started: another one has its name.
	var q *upstreamqueue.Queue
	r.eventually("the old queue to be gone", func() (err error) {
		e := r.delivery.all()[0].inForce()
		q, err = r.delivery.queues.Start(t.Context(), e.Config, e.External, deaf)
		return err
	})
	r.one().Recover()
	r.eventually("a hand-over to fail", func() error {
		if why := r.status("one").Why; why != "upstream's queue could not be started" {
			return fmt.Errorf("it is behind because %q", why)
		}
		return nil
	})
	l := r.awaitSettled("one")
	if l.OnDisk != 0 || l.Delivered != l.Appended {
		t.Errorf("%+v", l)
	}
	if err := q.Stop(); err != nil {
		t.Fatal(err)
	}
	r.awaitState("one", Live)
	r.scrapes(3, 50)
	r.checkDelivered("one")
}

// deaf lets every batch pass.
var deaf = upstreamqueue.Observer{
	Before: func(context.Context, int) {},
	After:  func(context.Context, upstreamqueue.Outcome) {},
}

// TestReload: renamed, changed, new and removed destinations.
func TestReload(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.addDestination("two", agenttest.Manners{})
	r.open()
	r.awaitState("one", Live)
	r.awaitState("two", Live)
	r.goBehind("one")
	r.scrapes(5, 50)
	r.awaitSettled("two")

	r.global = "  external_labels: {site: b}" // changes both
	r.apply()
	r.scrapes(5, 50)
	r.endpoints["renamed"], r.extra["renamed"] = r.endpoints["one"], r.extra["one"]
	delete(r.endpoints, "one")
	r.pass()
	r.addDestination("three", agenttest.Manners{})
	r.apply()
	r.scrapes(5, 50)
	r.pass()
	r.endpoints["renamed"].Recover()
	r.checkDelivered("renamed")
	r.checkDelivered("two")
	r.checkDelivered("three")
	if l := r.status("three").Ledger; l.Appended != 250 {
		t.Errorf("the new one begins with %+v", l)
	}
	if l := r.status("renamed").Ledger; l.Appended != 751 {
		t.Errorf("the renamed one has %+v", l)
	}
	if s := r.status("one"); s.Name != "" {
		t.Errorf("the old name is still there: %+v", s)
	}
	delete(r.endpoints, "two")
	r.apply()
	if n := len(r.delivery.Status()); n != 2 {
		t.Errorf("%d destinations", n)
	}
}
