package main

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

var start = time.Unix(1_700_000_000, 0)

func at(d time.Duration) time.Time { return start.Add(d) }

// TestSeconds: each request is counted in the second in which it began, and what came
// before and after not at all.
func TestSeconds(t *testing.T) {
	requests := []agenttest.Request{
		{At: at(-time.Millisecond), Status: 200, Samples: 1},
		{At: at(0), Status: 200, Samples: 10, Bytes: 100},
		{At: at(999 * time.Millisecond), Status: 429, Samples: 10, Bytes: 200},
		{At: at(time.Second), Status: 503, Samples: 10},
		{At: at(time.Second), Status: 400, Samples: 10},
		{At: at(2400 * time.Millisecond), Status: 204, Samples: 7},
		{At: at(2500 * time.Millisecond), Status: 200, Samples: 100},
	}
	got := seconds(requests, start, at(2500*time.Millisecond))
	want := []second{{2, 1, 10, 300}, {2, 1, 0, 0}, {1, 0, 7, 0}}
	if !slices.Equal(got, want) {
		t.Errorf("%v instead of %v", got, want)
	}
	if got := seconds(requests, start, at(-time.Second)); len(got) != 0 {
		t.Errorf("%v in no time", got)
	}
}

func TestHerd(t *testing.T) {
	requests := func(s second) int { return s.requests }
	for _, tc := range []struct {
		name       string
		of         []second
		peak       int
		peakToMean float64
	}{
		{"nothing", nil, 0, 0},
		{"quiet", make([]second, 3), 0, 0},
		{"even", []second{{requests: 5}, {requests: 5}}, 5, 1},
		{"all at once", []second{{}, {requests: 8}, {}, {}}, 8, 4},
	} {
		h := herdOf(tc.of, requests)
		if got := h.peakToMean(len(tc.of)); h.peak != tc.peak || got != tc.peakToMean {
			t.Errorf("%s: peak %d, to the mean %g", tc.name, h.peak, got)
		}
	}
}

func TestDelays(t *testing.T) {
	sample := func(scraped, late time.Duration) agenttest.Sample {
		return agenttest.Sample{T: at(scraped).UnixMilli(), At: at(scraped + late)}
	}
	samples := []agenttest.Sample{
		sample(-time.Second, time.Hour), sample(0, 3*time.Second), sample(time.Second, time.Second),
		sample(2*time.Second, 2*time.Second), sample(3*time.Second, time.Hour),
	}
	d := delays(nil).add(samples, start, at(3*time.Second))
	for percent, want := range map[int]time.Duration{0: 1, 33: 1, 34: 2, 50: 2, 99: 3, 100: 3} {
		if got := d.quantile(percent); got != want*time.Second {
			t.Errorf("%d %%: %s instead of %d s", percent, got, want)
		}
	}
	if got := delays(nil).quantile(50); got != 0 {
		t.Errorf("%s of nothing", got)
	}
	for _, tc := range []struct {
		after time.Duration
		want  time.Duration
		found bool
	}{
		{0, 2 * time.Second, true}, // that of the second one
		{2500 * time.Millisecond, 500 * time.Millisecond, true},
		{2 * time.Hour, 0, false},
	} {
		if got, found := firstAfter(samples, at(tc.after)); got != tc.want || found != tc.found {
			t.Errorf("after %s: %s, %t", tc.after, got, found)
		}
	}
}

// smoke is a fleet that is back within seconds.
var smoke = options{
	agents: 5, newcomers: 1, series: 4, interval: 200 * time.Millisecond, newcomerEvery: 100 * time.Millisecond,
	warm: 500 * time.Millisecond, outage: time.Second, sampleLimit: 20, requestLimit: 50,
	batchDeadline: 200 * time.Millisecond, maxLiveLag: 200 * time.Millisecond, minStay: 200 * time.Millisecond,
	queue: ", min_backoff: 10ms, max_backoff: 50ms",
}

// TestFleet: five agents come back, another begins meanwhile, and nothing is missing.
func TestFleet(t *testing.T) {
	t.Parallel()
	for _, answer := range []int{0, 503} {
		t.Run(strconv.Itoa(answer), func(t *testing.T) {
			t.Parallel()
			o := smoke
			o.answer = answer
			var out bytes.Buffer
			if err := run(context.Background(), o, &out); err != nil {
				t.Errorf("%v\n%s", err, &out)
			}
			if !regexp.MustCompile(`(?m)^scraped [1-9]\d*, delivered \d+, stored \d+, sent twice \d+, missing 0$`).Match(out.Bytes()) {
				t.Errorf("%s", &out)
			}
		})
	}
}

// TestFleetMisses: what the endpoint acknowledges and does not store is missed.
func TestFleetMisses(t *testing.T) {
	t.Parallel()
	f, err := newFleet(smoke)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}()
	f.endpoint.RespondNext(agenttest.Answer{Status: 200})
	var out bytes.Buffer
	if err := f.play(context.Background(), &out); err != nil {
		t.Fatal(err)
	}
	if err := f.report(&out); err == nil || bytes.Contains(out.Bytes(), []byte("missing 0")) {
		t.Errorf("nobody has missed anything: %v\n%s", err, &out)
	}
}
