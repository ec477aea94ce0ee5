package delivery

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// askedTwice are hooks for samples that come by themselves, by what they do: how often one
// has come goes from 1.
var askedTwice = map[string]func(times int) *agenttest.Answer{
	"the answer is lost": func(times int) *agenttest.Answer {
		if times == 1 {
			return &agenttest.Answer{Status: 502, Store: true}
		}
		return nil
	},
	"refused for something else": func(times int) *agenttest.Answer {
		if times == 1 {
			return &agenttest.Answer{Status: 400, Body: "received an invalid write request"}
		}
		return nil
	},
	"refused when it comes again": func(times int) *agenttest.Answer {
		if times == 2 {
			return &agenttest.Answer{Status: 400, Body: "received an invalid write request"}
		}
		return nil
	},
}

// singles makes a hook for an endpoint of one for samples that come by themselves.
func singles(hook func(times int) *agenttest.Answer) func(*agenttest.Incoming) *agenttest.Answer {
	var mtx sync.Mutex
	times := map[string]int{}
	return func(in *agenttest.Incoming) *agenttest.Answer {
		if in.Samples() != 1 {
			return nil
		}
		mtx.Lock()
		defer mtx.Unlock()
		key := in.Write.Timeseries[0].String()
		times[key]++
		return hook(times[key])
	}
}

// TestQuestions: a question that is not answered at once, or refused for something else,
// tells nothing wrong: what is delivered is there, and everything is.
func TestQuestions(t *testing.T) {
	t.Parallel()
	for receiver, manners := range receivers {
		for name, hook := range askedTwice {
			for trouble, run := range map[string]func(*rig, func(*agenttest.Incoming) *agenttest.Answer){
				"a kill": func(r *rig, hook func(*agenttest.Incoming) *agenttest.Answer) {
					r.options.SaveInterval = time.Hour
					r.open()
					r.awaitState("one", Live)
					r.endInOutage()
					r.one().RespondIf(hook)
					r.open()
				},
				"stamps ahead": func(r *rig, hook func(*agenttest.Incoming) *agenttest.Answer) {
					r.behindAhead()
					r.one().RespondIf(hook)
					r.one().RespondFor(time.Nanosecond, agenttest.Answer{}) // the hook stays
					for range 10 {
						r.scrapeAhead(20)
						r.awaitSettled("one")
					}
				},
			} {
				t.Run(strings.Join([]string{receiver, name, trouble}, ", "), func(t *testing.T) {
					t.Parallel()
					r := newRig(t, manners)
					run(r, singles(hook))
					l := r.awaitSettled("one")
					unknown := ledger.Total(l.Uncertain)
					if name != "refused for something else" && unknown > 0 || l.Delivered+unknown != l.Appended || r.accepted("one") != l.Appended {
						t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
					}
					if err := r.one().Snapshot().CheckInOrder(); err != nil {
						t.Error(err)
					}
					wrong := partialStored
					if !manners.AllOrNothing {
						wrong = partialRolledBack
					}
					if r.delivery.all()[0].partialWrites() == wrong {
						t.Error("it is taken for one that it is not")
					}
				})
			}
		}
	}
}

// TestAskOneUnanswered: the answer is lost to the question whether one series passes. What
// is refused then for what it was by itself does not stand for everything.
func TestAskOneUnanswered(t *testing.T) {
	t.Parallel()
	for receiver, manners := range allOrNothing {
		t.Run(receiver, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			r.open()
			r.awaitState("one", Live)
			r.one().RespondIf(singles(askedTwice["the answer is lost"]))
			r.goBehind("one")
			r.scrapeWithOld()
			r.pass()
			r.one().RespondFor(time.Nanosecond, agenttest.Answer{}) // the hook stays
			l := r.awaitSettled("one")
			if l.Delivered != l.Appended-1 || r.accepted("one") != l.Delivered {
				t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
			}
		})
	}
}
