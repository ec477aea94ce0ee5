package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// TestUnsureStart: when a queue starts is known to milliseconds only, and of samples
// with such a time it is not known whether the queue sends them. What it sent behind
// them is sent again when nothing more comes, and is not taken for refused then.
func TestUnsureStart(t *testing.T) {
	t.Parallel()
	unsure, duplicates := 0, int64(0)
	r := newRig(t, agenttest.Manners{})
	r.options.MaxLiveLag = time.Second
	r.store.SegmentSize = 1 << 20
	r.open()
	r.awaitState("one", Live)
	first := labels.MustNewMatcher(labels.MatchEqual, "i", "0")
	at := time.Now()
	for i := 0; i < 30 && unsure < 2; i++ {
		scrape := func() {
			if now := time.Now().Truncate(time.Millisecond); now.After(at) {
				at = now
				r.scrape(50, at)
			}
		}
		before := r.status("one").Since
		r.queue = strings.Replace(r.queue, strconv.Itoa(100+i)+"ms", strconv.Itoa(101+i)+"ms", 1) // a new queue
		r.apply()
		for s := r.status("one"); s.State != Live || s.Since.Equal(before); s = r.status("one") {
			scrape()
		}
		for range 8 { // what the queue sends for sure, one by one
			at = at.Add(time.Millisecond)
			r.scrape(1, at)
			r.eventually("it to be stored", func() error {
				r.delivery.Notify()
				if s := r.one().Snapshot().Series(first); len(s) == 0 || s[0].Last != at.UnixMilli() {
					return fmt.Errorf("%+v", s)
				}
				return nil
			})
		}
		l := r.awaitSettled("one")
		if ledger.Total(l.Uncertain) > 0 || ledger.Total(l.Refused) > 0 || l.Delivered != l.Appended || l.Delivered != r.accepted("one") {
			t.Fatalf("the endpoint holds %d: %+v", r.accepted("one"), l)
		}
		if n := r.one().Snapshot().Duplicates; n > duplicates {
			unsure, duplicates = unsure+1, n
		}
	}
	t.Logf("%d queues began with a doubt", unsure)
}

// slowStart is a log that takes its time to say that a watcher starts, before the
// watcher takes the time of its start: when that was is known to so much only.
type slowStart struct{ slog.Handler }

// Enabled implements slog.Handler.
func (slowStart) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (slowStart) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "Starting WAL watcher" {
		time.Sleep(100 * time.Millisecond) // the doubt itself; nothing is awaited
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h slowStart) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler.
func (h slowStart) WithGroup(string) slog.Handler { return h }

// TestUnsureAreNotOvertaken: while samples are being sent of which it is not known
// whether the queue sends them, none of its batches overtakes them.
func TestUnsureAreNotOvertaken(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.MaxLiveLag = time.Second
	r.store.SegmentSize = 1 << 20
	r.upstreamLog = slowStart{}
	r.open()
	r.awaitState("one", Live)
	at := time.Now()
	for i := range 4 {
		r.one().Respond(agenttest.Answer{Delay: 10 * time.Millisecond}) // late ones go one by one
		before := r.status("one").Since
		r.queue = strings.Replace(r.queue, strconv.Itoa(100+i)+"ms", strconv.Itoa(101+i)+"ms", 1) // a new queue
		r.apply()
		for s := r.status("one"); s.State != Live || s.Since.Equal(before); s = r.status("one") {
			if now := time.Now().Truncate(time.Millisecond); now.Sub(at) >= 5*time.Millisecond {
				at = now
				r.scrape(20, at)
			}
		}
		r.scrapes(20, 20)
		l := r.awaitSettled("one")
		if ledger.Total(l.Uncertain) > 0 || ledger.Total(l.Refused) > 0 || l.Delivered != l.Appended || l.Delivered != r.accepted("one") {
			t.Fatalf("the endpoint holds %d: %+v", r.accepted("one"), l)
		}
		at = r.last
	}
}
