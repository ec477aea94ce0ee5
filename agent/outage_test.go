package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/prometheus/util/compression"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

func TestHealthy(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 50})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 20)
	r.awaitAll(r.endpoint, one)
	r.stop()
	// What was not flushed comes after the restart; nothing comes twice.
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 5)
	r.awaitAll(r.endpoint, one)
	if s := r.endpoint.Snapshot(); s.Duplicates > 0 {
		t.Errorf("%d samples arrived twice after a clean stop with a healthy endpoint", s.Duplicates)
	}
}

func TestRestartDuringOutage(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"SIGTERM", "SIGKILL"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			one := r.targets.Add("one", agenttest.TargetOptions{Series: 50})
			two := r.targets.Add("two", agenttest.TargetOptions{Series: 5, Churn: 2})
			r.start()
			r.awaitState("one", delivery.Live)
			r.awaitScrapes(one, 10)
			r.outage(func() {
				r.awaitScrapes(one, 10)
				if how == "SIGTERM" {
					r.stop()
				} else {
					r.kill()
				}
				r.start()
				r.awaitScrapes(one, 10)
			})
			r.awaitState("one", delivery.Live)
			r.awaitScrapes(one, 5)
			r.awaitAll(r.endpoint, one, two)
			t.Logf("%d samples arrived twice", r.endpoint.Snapshot().Duplicates)
		})
	}
}

// TestCompression: what is on disk is delivered however it was compressed, and zstd takes
// less.
func TestCompression(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 500})
	bytesOfScrape := map[string]int64{}
	r.outage(func() {
		for run, c := range []string{compression.Snappy, compression.Zstd} {
			r.options.WALCompression = c
			n := len(one.Answered())
			r.start()
			r.awaitScrapes(one, 5)
			r.kill() // a stop would fill the last page
			bytesOfScrape[c] = r.bytesOfGeneration(run+1) / int64(len(one.Answered())-n)
		}
	})
	if s, z := bytesOfScrape[compression.Snappy], bytesOfScrape[compression.Zstd]; z == 0 || z > s*4/5 {
		t.Errorf("a scrape takes %d bytes by zstd, and %d by snappy", z, s)
	}
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitAll(r.endpoint, one)
}

// bytesOfGeneration is the size of the segments of a run that has ended.
func (r *rig) bytesOfGeneration(number int) (n int64) {
	r.t.Helper()
	segments, err := filepath.Glob(filepath.Join(r.options.StoragePath, "backlog", fmt.Sprintf("%08d", number), "0*"))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, segment := range segments {
		fi, err := os.Stat(segment)
		if err != nil {
			r.t.Fatal(err)
		}
		n += fi.Size()
	}
	return n
}
