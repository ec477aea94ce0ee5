package delivery

import (
	"context"
	"errors"
	"math"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestRejected: a sample that the agent's own storage does not take stands in the
// ledger with its reason, and costs no other.
func TestRejected(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	r.awaitState("one", Live)
	at := r.next()
	r.scrape(3, at)
	app := r.append.AppenderV2(t.Context())
	ls := labels.FromStrings("__name__", "m", "i", "1")
	if _, err := app.Append(r.refs[ls.String()], ls, 0, at.Add(-time.Second).UnixMilli(), 1, nil, nil, storage.AppendV2Options{}); err == nil {
		t.Fatal("an older sample was taken")
	}
	r.add(app, labels.FromStrings("__name__", "m", "i", "2"), at.Add(time.Second), 1)
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	l := r.awaitSettled("one")
	if l.Rejected["out_of_order"] != 1 || l.Appended != 4 || l.Delivered != 4 {
		t.Errorf("%+v", l)
	}
	r.close()
	r.open()
	if l := r.status("one").Ledger; l.Rejected["out_of_order"] != 1 {
		t.Errorf("after a restart: %+v", l)
	}
}

// TestLateMarkers: a series that goes on is ended too late, by upstream's markers for
// another target that had it. Neither is lost nor refused anything by that.
func TestLateMarkers(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	at := r.next()
	r.scrape(3, at)
	stale := math.Float64frombits(value.StaleNaN)
	ls := labels.FromStrings("__name__", "m", "i", "1")
	app := r.append.AppenderV2(t.Context())
	late := func(v float64, opts storage.AppendV2Options) {
		t.Helper()
		if _, err := app.Append(r.refs[ls.String()], ls, 0, at.Add(-time.Second).UnixMilli(), v, nil, nil, opts); !errors.Is(err, storage.ErrOutOfOrderSample) {
			t.Fatalf("an older sample: %v", err)
		}
	}
	late(stale, storage.AppendV2Options{RejectOutOfOrder: true})
	late(stale, storage.AppendV2Options{}) // of a target that exposes it, with its time
	late(1, storage.AppendV2Options{RejectOutOfOrder: true})
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	if l := r.awaitSettled("one"); l.Rejected["out_of_order"] != 2 || l.Appended != 3 {
		t.Errorf("%+v", l)
	}
}

// TestRefusingAppends: while the disk is full, samples are counted and not kept.
func TestRefusingAppends(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	refusing := true
	r.delivery.intake.mayAppend = func() bool { return !refusing }
	r.scrapes(2, 10)
	app := r.append.AppenderV2(t.Context())
	if err := app.Rollback(); err != nil {
		t.Fatal(err)
	}
	refusing = false
	r.scrapes(1, 10)
	if l := r.awaitSettled("one"); l.NotAppended != 20 || l.Appended != 10 {
		t.Errorf("%+v", l)
	}
}

// fullDisk makes appenders whose commits fail.
type fullDisk struct{ storage.AppendableV2 }

type fullAppender struct{ storage.AppenderV2 }

func (d fullDisk) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return fullAppender{d.AppendableV2.AppenderV2(ctx)}
}

func (fullAppender) Commit() error { return syscall.ENOSPC }

// TestAfterFailedCommit: after a commit that failed nothing more is written, nor by
// appenders that were there already: what the failed one has left would be written
// a second time. It is counted.
func TestAfterFailedCommit(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	r.awaitState("one", Live)
	r.scrape(3, r.next())
	before := r.append.AppenderV2(t.Context())
	next := r.delivery.intake.next
	r.delivery.intake.next = fullDisk{next}
	failing := r.append.AppenderV2(t.Context())
	at := r.next()
	r.add(failing, labels.FromStrings("__name__", "m", "i", "0"), at, 1)
	if err := failing.Commit(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("it ended with %v", err)
	}
	r.delivery.intake.next = next
	r.add(before, labels.FromStrings("__name__", "m", "i", "1"), at, 1)
	if err := before.Commit(); err != nil {
		t.Fatal(err)
	}
	r.scrape(3, r.next())
	r.close()
	r.open()
	if l := r.awaitSettled("one"); l.Appended != 4 || l.NotAppended != 4 || l.Delivered != 3 || l.Lost != 1 {
		t.Errorf("%+v", l)
	}
}

// TestWrittenAfterFailedCommit: what a failed commit has left in memory is written when
// the WAL is closed, if there is room again. Until the next run knows, it is not lost.
func TestWrittenAfterFailedCommit(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		behind, written bool
		delivered, lost uint64
	}{
		"live, written":       {written: true, delivered: 6},
		"live, not written":   {delivered: 5, lost: 1},
		"behind, written":     {behind: true, written: true, delivered: 6},
		"behind, not written": {behind: true, delivered: 5, lost: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			if tc.behind {
				r.openBehind()
				r.one().Recover()
			} else {
				r.open()
				r.awaitState("one", Live)
				r.scrape(1, r.next())
			}
			r.scrape(4, r.next())
			r.awaitSettled("one")
			r.delivery.intake.next = fullDisk{r.delivery.intake.next}
			failing := r.append.AppenderV2(t.Context())
			r.add(failing, labels.FromStrings("__name__", "m", "i", "0"), r.next(), 1)
			if err := failing.Commit(); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("it ended with %v", err)
			}
			// As its loop does when it has read all there is.
			r.delivery.all()[0].reconcile(r.backlog.End())
			if l := r.status("one").Ledger; l.Appended != 6 || l.OnDisk != 1 || l.Lost != 0 {
				t.Errorf("before the end of the run: %+v", l)
			}
			if tc.written {
				r.atClose = failing.(*appender).AppenderV2.(fullAppender).AppenderV2.Commit
			}
			r.close()
			r.open()
			l := r.awaitSettled("one")
			if l.Appended != 6 || l.Delivered != tc.delivered || l.Lost != tc.lost || r.accepted("one") != tc.delivered {
				t.Errorf("the endpoint has %d of %+v", r.accepted("one"), l)
			}
		})
	}
}
