package delivery

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestOldestUnsent: what the destination does not get tells as well when a scrape was.
func TestOldestUnsent(t *testing.T) {
	t.Parallel()
	for _, state := range []State{Live, Behind} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			r.options.MinStay = time.Hour
			// All that is appended here waits.
			r.queue = "    queue_config: {batch_send_deadline: 1h, max_samples_per_send: 500, capacity: 2500}\n"
			r.extra["one"] = "    write_relabel_configs: [{source_labels: [__name__], regex: unwanted, action: drop}]\n"
			begun := time.Now().Truncate(time.Millisecond)
			r.open()
			r.awaitState("one", Live)
			if state == Behind {
				r.one().Respond(agenttest.Answer{Status: 401})
				r.scrape(500, r.next()) // a request: it is sent
				r.awaitState("one", Behind)
				r.one().Recover()
			}
			oldest := func() time.Time {
				t.Helper()
				r.eventually("all to be read", func() error {
					if n := r.delivery.all()[0].account.Unread(); n != 0 {
						return fmt.Errorf("%d are not", n)
					}
					return nil
				})
				s := r.status("one")
				if s.OldestUnsent == nil {
					t.Fatalf("nothing waits: %+v", s)
				}
				return *s.OldestUnsent
			}
			commit := func(kept time.Time) {
				t.Helper()
				app := r.append.AppenderV2(t.Context())
				if !kept.IsZero() {
					r.add(app, labels.FromStrings("__name__", "kept"), kept, 1)
				}
				r.add(app, labels.FromStrings("__name__", "unwanted"), r.next(), 1)
				if err := app.Commit(); err != nil {
					t.Fatal(err)
				}
			}
			if state == Behind {
				// Of a target that dates its samples back, of which no others are wanted. While
				// it is live, they are sent at once.
				commit(begun.Add(-time.Hour))
				if at := oldest(); at.Before(begun) {
					t.Errorf("it waits since %s, before it was scraped", at)
				}
			}
			r.scrapes(1, 20)
			before := oldest()
			if before.Before(begun) {
				t.Errorf("it waits since %s, before it was scraped", before)
			}
			commit(time.Time{})
			if at := oldest(); !at.Equal(before) {
				t.Errorf("the oldest is of %s, and of %s with a scrape of which nothing is wanted", before, at)
			}
		})
	}
}

func TestScrapedAt(t *testing.T) {
	t.Parallel()
	read := time.UnixMilli(1_700_000_000_000)
	for newest, want := range map[int64]int64{
		1_600_000_000_000: 1_600_000_000_000,
		1_700_000_000_001: 1_700_000_000_000, // stamped ahead
		1:                 1,
		0:                 1_700_000_000_000,
		-1:                1_700_000_000_000,
	} {
		if got := scrapedAt(newest, read); got != want {
			t.Errorf("%d: %d, want %d", newest, got, want)
		}
	}
}
