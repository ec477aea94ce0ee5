package pulse

import (
	"context"
	"testing"
	"time"
)

func TestUntil(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, tc := range []struct{ passed, every, want time.Duration }{
		{0, time.Second, time.Second},
		{300 * ms, time.Second, 700 * ms},
		{1700 * ms, time.Second, 300 * ms},
		{1700 * ms, 2 * time.Second, 300 * ms},
		{1700 * ms, 10 * time.Second, 8300 * ms},
		{time.Hour, time.Second, time.Second},
		{time.Hour + 999*ms, time.Second, 1001 * ms}, // woken early
		{time.Hour + ms, time.Second, 999 * ms},      // woken late
		{3 * ms, 10 * ms, 7 * ms},
		{6 * ms, 10 * ms, 14 * ms},
	} {
		if got := until(tc.passed, tc.every); got != tc.want {
			t.Errorf("%s before the next of every %s, after %s; expected %s", got, tc.every, tc.passed, tc.want)
		}
	}
}

// TestMomentsAreShared: whoever waits for a second is there when whoever waits for two is.
func TestMomentsAreShared(t *testing.T) {
	t.Parallel()
	for passed := time.Duration(0); passed < 20*time.Second; passed += 77 * time.Millisecond {
		if at := passed + until(passed, 2*time.Second); at%time.Second != 0 {
			t.Errorf("from %s on, the next of every two seconds is at %s", passed, at)
		}
	}
}

func TestWaitEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if Wait(ctx, time.Hour) {
		t.Error("waited")
	}
}
