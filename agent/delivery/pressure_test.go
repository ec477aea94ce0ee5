package delivery

import (
	"bytes"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

func TestNextPressure(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		was         Pressure
		live, limit uint64
		want        Pressure
	}{
		{Relaxed, 70, 100, Relaxed},
		{Relaxed, 76, 100, ShedSeries},
		{Relaxed, 83, 100, SmallBatches},
		{Relaxed, 91, 100, SkipScrapes},
		{ShedSeries, 76, 100, ShedSeries},
		{ShedSeries, 61, 100, ShedSeries},
		{ShedSeries, 60, 100, Relaxed},
		{ShedSeries, 80, 100, ShedSeries},
		{SmallBatches, 69, 100, SmallBatches},
		{SmallBatches, 68, 100, ShedSeries},
		{SmallBatches, 91, 100, SkipScrapes},
		{SkipScrapes, 76, 100, SkipScrapes},
		{SkipScrapes, 75, 100, SmallBatches},
		{SkipScrapes, 10, 100, Relaxed},
		{SkipScrapes, 1 << 40, math.MaxInt64, Relaxed},
		{Relaxed, 1 << 40, math.MaxInt64, Relaxed},
	} {
		if got := nextPressure(c.was, c.live, c.limit); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	runtime.GC() // before the first, nothing is known to live
	if live, limit := memoryInUse(); live == 0 || limit == 0 {
		t.Errorf("live %d, limit %d", live, limit)
	}
}

// TestMemoryStages: each stage is logged once when it is reached, and its time is
// counted.
func TestMemoryStages(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	m := &memory{logger: log.NewLogfmtLogger(&logged)}
	at := time.Now()
	for _, stage := range []Pressure{Relaxed, ShedSeries, ShedSeries, SkipScrapes, SmallBatches, Relaxed} {
		m.set(stage, at, 1, 2)
		at = at.Add(time.Second)
	}
	got := m.lasted()
	if got["shed_series"] != 2 || got["small_batches"] != 1 || got["skip_scrapes"] != 1 || len(got) != 3 {
		t.Errorf("%v", got)
	}
	for p, want := range []int{Relaxed: 1, ShedSeries: 1, SmallBatches: 0, SkipScrapes: 1} {
		if n := strings.Count(logged.String(), stages[p].msg); n != want {
			t.Errorf("%v is logged %d times:\n%s", Pressure(p), n, logged.String())
		}
	}
}

// TestSmallBatches: when memory is short, requests from the backlog are smaller, and
// all that is on disk arrives all the same.
func TestSmallBatches(t *testing.T) {
	t.Parallel()
	for stage, most := range map[Pressure]int{ShedSeries: 1000, SmallBatches: 125} {
		r := newRig(t, agenttest.Manners{})
		r.queue = strings.Replace(r.queue, "max_samples_per_send: 500", "max_samples_per_send: 200", 1)
		if err := r.one().Down(); err != nil {
			t.Fatal(err)
		}
		r.open()
		r.scrapes(40, 50)
		r.close() // the next run finds a backlog
		r.live.Store(stages[stage].begin + 1)
		r.open()
		if err := r.one().Up(); err != nil {
			t.Fatal(err)
		}
		l := r.awaitSettled("one")
		if l.Delivered != 2000 {
			t.Errorf("%v: %+v", stage, l)
		}
		largest := 0
		for _, request := range r.one().Snapshot().Requests {
			largest = max(largest, request.Samples)
		}
		if largest > most || largest < most-50 {
			t.Errorf("%v: a request of %d samples, expected up to %d", stage, largest, most)
		}
	}
}
