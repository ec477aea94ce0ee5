package delivery

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
	"github.com/opstrace/opstrace-agent/agent/delivery/selection"
)

// sayings is a log that counts the messages of a destination.
type sayings struct {
	destination string

	mtx  sync.Mutex
	said map[string]int
}

func (s *sayings) count(message string) int {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	return s.said[message]
}

func (s *sayings) logger() log.Logger {
	return log.LoggerFunc(func(keyvals ...any) error {
		s.mtx.Lock()
		defer s.mtx.Unlock()
		of := map[any]any{}
		for i := 0; i+1 < len(keyvals); i += 2 {
			of[keyvals[i]] = keyvals[i+1]
		}
		if of["destination"] == s.destination {
			s.said[fmt.Sprint(of["msg"])]++
		}
		return nil
	})
}

// TestLateIsTheSame: all that a target can show, dated before the live queue's start,
// arrives as it does from the backlog, also when its labels have been given up before.
func TestLateIsTheSame(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1.0", "2.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{RemoteWrite2: agenttest.AcceptRemoteWrite2})
			r.addDestination("drained", agenttest.Manners{RemoteWrite2: agenttest.AcceptRemoteWrite2})
			for name := range r.endpoints {
				r.extra[name] = relabelling
				if version == "2.0" {
					r.extra[name] += "    protobuf_message: io.prometheus.write.v2.Request\n"
				}
			}
			s := &sayings{destination: "one", said: map[string]int{}}
			r.log = s.logger()
			r.open()
			r.awaitState("one", Live)
			r.awaitState("drained", Live)
			r.goBehind("drained")
			const rounds = 3
			old := time.Now().Add(-50 * time.Minute)
			for n := range rounds {
				for range 5 { // with a stale marker in it
					old = old.Add(time.Second)
					r.exposition(int(old.Unix()), old)
				}
				r.eventually("the labels to be given up", func() error {
					r.scrapes(1, 3) // the queue's: they need no labels
					if s.count("Gives the labels up that late samples needed") <= n {
						return errors.New("not yet")
					}
					return nil
				})
			}
			r.endpoints["drained"].Recover()
			live, drained := r.awaitSettled("one"), r.awaitSettled("drained")
			if s := r.status("one"); s.State != Live {
				t.Fatalf("it is %s: %s", s.State, s.Why)
			}
			if fmt.Sprint(live) != fmt.Sprint(drained) || live.Delivered != r.accepted("one") {
				t.Errorf("the endpoint took %d, the ledgers are:\n%+v\n%+v", r.accepted("one"), live, drained)
			}
			a, b := told(r.endpoints["one"]), told(r.endpoints["drained"])
			if !slices.Equal(a, b) || !strings.Contains(strings.Join(a, "\n"), "int_histogram") {
				t.Errorf("late and drained differ: %s", difference(a, b))
			}
			if got := s.count("Reads the series again, for samples that the queue does not send"); got != rounds {
				t.Errorf("the series were read again %d times", got)
			}
		})
	}
}

// TestLabelsAreKeptLonger: where late samples come now and then, the series are read
// again ever more seldom.
func TestLabelsAreKeptLonger(t *testing.T) {
	t.Parallel()
	l := &lateLabels{t: &destination{logger: log.NewNopLogger(), shared: &shared{}}, e: &remotewrite.Endpoint{}, keep: time.Minute}
	for range 10 {
		l.prepare()
		l.rest(l.used.Add(l.keep - 1))
		if !l.prepared() {
			t.Fatalf("given up before %s", l.keep)
		}
		l.rest(l.used.Add(l.keep))
		if l.prepared() {
			t.Fatalf("kept after %s", l.keep)
		}
	}
	if l.keep != keepMost {
		t.Errorf("kept for %s in the end", l.keep)
	}
}

// TestShareOut: what the queue sends, what the follower sends, and both.
func TestShareOut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		outline     selection.Outline
		not, always int64
		want        share
	}{
		"nothing":     {want: share{}},
		"the queue's": {selection.Outline{Times: []int64{7, 6}}, 5, 5, share{queued: 2}},
		"ours":        {selection.Outline{Times: []int64{5, 4}}, 5, 5, share{late: 2}},
		"perhaps":     {selection.Outline{Times: []int64{4, 5, 6, 7}}, 4, 6, share{queued: 3, late: 3, both: 2}},
		"exemplars":   {selection.Outline{Exemplars: 3}, 5, 5, share{queued: 3}},
		"before 1970": {selection.Outline{Times: []int64{-7}}, 5, 5, share{late: 1}},
	} {
		if got := shareOut(&c.outline, c.not, c.always); got != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestLateAtARateLimit: late samples that are refused for their rate are sent again, a few
// times, without going behind; not where the endpoint wants to be left alone for longer.
func TestLateAtARateLimit(t *testing.T) {
	t.Parallel()
	limit := agenttest.Answer{Status: 503, Body: "429-to-503: ingestion rate limit"}
	longer := agenttest.Answer{Status: 429, Header: http.Header{"Retry-After": {"1"}}}
	for name, tc := range map[string]struct {
		answers []agenttest.Answer
		stays   bool
	}{
		"twice":       {slices.Repeat([]agenttest.Answer{limit}, 2), true},
		"too often":   {slices.Repeat([]agenttest.Answer{limit}, mostLate), false},
		"Retry-After": {[]agenttest.Answer{longer}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			r.open()
			r.awaitState("one", Live)
			since := r.status("one").Since
			r.one().RespondNext(tc.answers...)
			r.scrape(3, since.Add(-time.Minute))
			r.awaitSettled("one")
			r.awaitState("one", Live)
			if stayed := r.status("one").Since.Equal(since); stayed != tc.stays {
				t.Errorf("it stayed live: %t", stayed)
			}
			if got := r.refusals(); got != len(tc.answers) {
				t.Errorf("%d requests were refused instead of %d", got, len(tc.answers))
			}
			r.checkDelivered("one")
		})
	}
}
