package delivery

import (
	"fmt"
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
