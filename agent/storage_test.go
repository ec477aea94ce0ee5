package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

func writeFile(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLongOutage: an outage over several truncations of the WAL, and a restart
// in the middle of the drain, after segments have been unlinked.
func TestLongOutage(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.TruncateInterval = 2 * time.Second
	r.options.SegmentSize = 32 << 10
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 400, Churn: 20})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 10)
	r.outage(func() {
		r.awaitScrapes(one, 75) // 15 s: seven truncations
		// The drain is slow enough to be interrupted.
		r.endpoint.Respond(agenttest.Answer{Delay: 50 * time.Millisecond})
	})
	before := r.status().Storage.Bytes
	r.eventually("a part of the backlog to be unlinked", func() error {
		if now := r.status().Storage.Bytes; now > before*2/3 {
			return fmt.Errorf("%d of %d bytes are left", now, before)
		}
		return nil
	})
	r.kill()
	r.endpoint.Recover()
	r.start()
	r.awaitStored(r.endpoint, "", one)
	r.awaitState("one", delivery.Live)
	r.checkNothingLost(r.endpoint)
}

// TestBudget: wal/ and backlog/ stay under the cap at every moment of an
// endless outage, the newest data survive, and what was evicted is counted.
func TestBudget(t *testing.T) {
	t.Parallel()
	const limit, series = 10 << 20, 8000
	r := newRig(t, agenttest.Manners{})
	r.options.BacklogMaxBytes = limit
	r.options.SegmentSize = 0
	r.interval = 250 * time.Millisecond // long enough for a scrape on a loaded machine
	targets := []*agenttest.Target{}
	for i := range 4 {
		targets = append(targets, r.targets.Add(fmt.Sprintf("t%d", i), agenttest.TargetOptions{Series: series}))
	}
	if err := r.endpoint.Down(); err != nil {
		t.Fatal(err)
	}
	r.start()
	over := int64(0)
	r.eventually("eviction", func() error {
		over = max(over, diskUsage(t, r.options.StoragePath))
		if l := r.destination("one").Ledger; l.Evicted < 100_000 {
			return fmt.Errorf("evicted %d", l.Evicted)
		}
		return nil
	})
	if over > limit {
		t.Errorf("the storage took %d bytes, the budget is %d", over, limit)
	}
	cut := time.Now()
	r.stop()
	r.start()
	for _, target := range targets {
		r.targets.Remove(target)
	}
	if err := r.endpoint.Up(); err != nil {
		t.Fatal(err)
	}
	r.awaitState("one", delivery.Live)
	l := r.awaitLedger("one", r.endpoint)
	t.Logf("%d bytes at most; %+v", over, l)
	newest := uint64(0) // scrapes that are missing
	for _, target := range targets {
		s := r.endpoint.Snapshot().Scrapes(target, "", cut)
		for _, gap := range s.Gaps() {
			if gap > int64(s.Answered)-3 {
				newest++
			}
		}
	}
	// On a loaded machine scrapes may come faster than segments are evicted: then
	// the newest are refused, and counted so.
	if newest*series > l.NotAppended {
		t.Errorf("%d of the newest scrapes are missing, %d samples were refused", newest, l.NotAppended)
	}
	r.checkNothingLost(r.endpoint)
}

// diskUsage counts the bytes of wal/ and backlog/, each inode once.
func diskUsage(t testing.TB, dir string) int64 {
	t.Helper()
	var sum int64
	var seen []os.FileInfo
	for _, sub := range []string{"wal", "backlog"} {
		_ = filepath.Walk(filepath.Join(dir, sub), func(_ string, fi os.FileInfo, err error) error {
			if err != nil || fi.IsDir() {
				return nil
			}
			for _, other := range seen {
				if os.SameFile(fi, other) {
					return nil
				}
			}
			seen = append(seen, fi)
			sum += fi.Size()
			return nil
		})
	}
	return sum
}

// TestCrashLoop: starts that come to nothing do not fill the disk.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	if err := r.endpoint.Down(); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.kill()
	first := entries(t, r.options.StoragePath)
	for range 50 {
		r.start()
		r.kill()
	}
	if last := entries(t, r.options.StoragePath); last > first+3 {
		t.Errorf("%d files and directories after one start, %d after 50 more", first, last)
	}
}

func entries(t *testing.T, dir string) (n int) {
	t.Helper()
	_ = filepath.Walk(dir, func(string, os.FileInfo, error) error { n++; return nil })
	return n
}
