package delivery

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

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
	"the answer is lost behind a 503": func(times int) *agenttest.Answer {
		if times == 1 {
			return &agenttest.Answer{Status: 503, Store: true}
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
			// Whether the ones that were asked about are there need not be known.
			if held := r.accepted("one"); held != l.Appended-1 || l.Delivered > held || held > l.Delivered+ledger.Total(l.Uncertain) || ledger.Total(l.Uncertain) > 3 {
				t.Errorf("the endpoint holds %d of %+v", held, l)
			}
		})
	}
}

// loseOne makes a hook that loses the answer to the first request that is asked for.
func loseOne(which func(*agenttest.Incoming) bool) (hook func(*agenttest.Incoming) *agenttest.Answer, lost *atomic.Bool) {
	lost = new(atomic.Bool)
	return func(in *agenttest.Incoming) *agenttest.Answer {
		if which(in) && lost.CompareAndSwap(false, true) {
			return &agenttest.Answer{Status: 502, Store: true}
		}
		return nil
	}, lost
}

// TestAskOneUnansweredOfMany: the answer is lost to that question where the series has several
// samples. Those are there; of another series, which somebody else writes ahead of us, none is.
func TestAskOneUnansweredOfMany(t *testing.T) {
	t.Parallel()
	for receiver, manners := range allOrNothing {
		t.Run(receiver, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			r.open()
			r.awaitState("one", Live)
			post(t, r.one(), seriesOf(5), time.Now().Add(5*time.Minute).UnixMilli(), 99)
			r.goBehind("one")
			r.scrapeWithOld()
			r.scrapes(2, 20)
			r.pass()
			hook, lost := loseOne(func(in *agenttest.Incoming) bool { return in.Samples() > 1 && len(in.Write.Timeseries) == 1 })
			r.one().RespondIf(hook)
			r.one().RespondFor(time.Nanosecond, agenttest.Answer{}) // the hook stays
			l := r.awaitSettled("one")
			unknown := ledger.Total(l.Uncertain) // of that series
			if held := r.accepted("one") - 1; !lost.Load() || held != l.Appended-4 || l.Delivered+unknown != held || unknown > 3 || ledger.Total(l.Refused) != 4 {
				t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
			}
		})
	}
}

// TestAskOneLeavesOne: the series that is asked about is the one that is refused, and there is
// one sample beside it: it is sent.
func TestAskOneLeavesOne(t *testing.T) {
	t.Parallel()
	for receiver, manners := range allOrNothing {
		t.Run(receiver, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			r.open()
			r.awaitState("one", Live)
			r.scrapes(1, 20)
			r.awaitSettled("one")
			r.goBehind("one")
			for _, ago := range []time.Duration{2 * time.Hour, 0} {
				app := r.append.AppenderV2(t.Context())
				r.add(app, labels.FromStrings("__name__", "old"), r.next().Add(-ago), 1)
				if err := app.Commit(); err != nil {
					t.Fatal(err)
				}
			}
			r.pass()
			r.one().Recover()
			l := r.awaitSettled("one")
			if l.Delivered != l.Appended-1 || r.accepted("one") != l.Delivered {
				t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
			}
		})
	}
}

// TestSeriesLimitLiftedUnanswered: the answer is lost to the question about a series that was
// left out. It is there, and it is taken for that.
func TestSeriesLimitLiftedUnanswered(t *testing.T) {
	t.Parallel()
	for receiver, manners := range allOrNothing {
		t.Run(receiver, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, manners)
			var on atomic.Bool
			on.Store(true)
			limitSeries(r.one(), &on, false)
			r.open()
			r.awaitState("one", Live)
			for range 3 {
				r.scrapeLimited(100, 1)
				r.awaitSettled("one")
			}
			refused := ledger.Total(r.checkRefused("one", 0).Refused)
			hook, lost := loseOne(func(in *agenttest.Incoming) bool { return in.Samples() == 1 })
			r.one().RespondIf(hook)
			r.eventually("the series to be taken", func() error {
				before := r.awaitSettled("one")
				r.scrapeLimited(100, 1)
				l := r.awaitSettled("one")
				if !lost.Load() {
					refused = ledger.Total(l.Refused)
				}
				if l.Delivered-before.Delivered < 101 {
					return fmt.Errorf("%d of 101", l.Delivered-before.Delivered)
				}
				return nil
			})
			if l := r.checkRefused("one", 1); !lost.Load() || ledger.Total(l.Refused) != refused {
				t.Errorf("%d were refused before %+v", refused, l)
			}
		})
	}
}
