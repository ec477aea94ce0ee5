package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// TestPlot: whatever the time that there is, half of it is left to catch up in.
func TestPlot(t *testing.T) {
	d := &demo{agent: &process{}}
	for duration, want := range map[time.Duration][]time.Duration{
		0:                {10 * time.Second, 20 * time.Second, 22 * time.Second, 30 * time.Second},
		5 * time.Minute:  {10 * time.Second, 20 * time.Second, 22 * time.Second, 30 * time.Second},
		30 * time.Second: {5 * time.Second, 10 * time.Second, 11 * time.Second, 15 * time.Second},
	} {
		var got []time.Duration
		for _, a := range plot(d, duration) {
			got = append(got, a.at)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v instead of %v", duration, got, want)
		}
	}
}

func TestWindow(t *testing.T) {
	var w window
	begun := time.Now()
	if w.perSecond() != 0 {
		t.Error("a rate of nothing")
	}
	for i := range 30 { // 500 every five seconds, and then nothing
		w.add(begun.Add(time.Duration(i)*time.Second), int64(min(i, 15)/5*500))
		want := 0.0
		switch i {
		case 5, 10:
			want = 100
		case 20:
			want = 50
		case 26:
			want = 0
		default:
			continue
		}
		if got := w.perSecond(); got != want {
			t.Errorf("after %d s: %g instead of %g", i, got, want)
		}
	}
}

// TestAccount: what is missing is the difference between two that do not know of each
// other, and fails.
func TestAccount(t *testing.T) {
	for _, tc := range []struct {
		ledger ledger.Terms
		at     stats
		last   string
		err    string
	}{
		{ledger.Terms{}, stats{}, "scraped 0, missing 0", ""},
		{ledger.Terms{Appended: 100, Delivered: 100}, stats{stored: 100, twice: 7}, "scraped 100, missing 0", ""},
		{ledger.Terms{Appended: 100, Delivered: 90, Filtered: map[string]uint64{"x": 10}}, stats{stored: 90}, "scraped 100, missing 0", ""},
		{ledger.Terms{Appended: 100, Delivered: 100}, stats{stored: 99}, "scraped 100, missing 1", "1 samples are missing at the endpoint"},
		{ledger.Terms{Appended: 100, Delivered: 60, OnDisk: 40}, stats{stored: 60}, "scraped 100, missing 40", "40 samples are missing at the endpoint"},
		{ledger.Terms{Appended: 100, Delivered: 100}, stats{stored: 101}, "scraped 100, missing 0", "the endpoint has 1 samples more than the agent has counted"},
	} {
		lines, err := account(tc.ledger, tc.at)
		if got := lines[len(lines)-1]; got != tc.last {
			t.Errorf("%+v: %q", tc, got)
		}
		if (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
			t.Errorf("%+v: %v", tc, err)
		}
	}
	if lines, _ := account(ledger.Terms{}, stats{cut: 1}); !strings.Contains(strings.Join(lines, "\n"), "The kill cut off 1 scrape under way") {
		t.Errorf("nothing of a scrape that the kill cut off: %q", lines)
	}
}
