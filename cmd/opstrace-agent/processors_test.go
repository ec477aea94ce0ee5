package main

import (
	"strings"
	"testing"
)

func TestOneProcessor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		one   bool
		share float64
		want  bool
	}{
		{false, 0, true},
		{false, 0.19, true},
		{false, 0.2, false}, // steady: stays
		{false, 1.7, false},
		{true, 0, true},
		{true, 0.2, true}, // steady: stays
		{true, 0.49, true},
		{true, 0.5, false},
		{true, 0.99, false}, // all that one gives
	} {
		if got := oneProcessor(tc.one, tc.share); got != tc.want {
			t.Errorf("one is enough after %.2f of one, where one was %t: %t", tc.share, tc.one, got)
		}
	}
}

// TestProcessorsFollowLoad: an agent that does next to nothing uses one processor, and
// one whose user has chosen stays with that.
func TestProcessorsFollowLoad(t *testing.T) {
	t.Parallel()
	chosen, _ := startWith(t, []string{"GOMAXPROCS=3"}, "--log.level=debug")
	r, _ := startWith(t, []string{"GOMAXPROCS="}, "--log.level=debug")
	// Asking for the metric often would be a load.
	r.awaitLog(`msg="GOMAXPROCS changed" new=1 `)
	if got := r.metric("go_sched_gomaxprocs_threads"); got != "1" {
		t.Errorf("%s processors are in use", got)
	}
	if got := chosen.metric("go_sched_gomaxprocs_threads"); got != "3" || strings.Contains(chosen.log.String(), "GOMAXPROCS changed") {
		t.Errorf("GOMAXPROCS=3 gives %s", got)
	}
}
