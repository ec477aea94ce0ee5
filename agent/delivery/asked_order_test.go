package delivery

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// TestEndsWhileAsking: what was asked about single series does not have the next run ask
// about each sample, nor take for delivered what is not there.
func TestEndsWhileAsking(t *testing.T) {
	t.Parallel()
	const n, series = 10, 40
	for ending, end := range endings {
		for name, manners := range map[string]agenttest.Manners{"all or nothing": {AllOrNothing: true}, "stores partial writes": {}} {
			for _, stored := range []int{n, n / 2} { // scrapes, of those that were sent
				t.Run(fmt.Sprintf("%s, %s, %d stored", ending, name, stored), func(t *testing.T) {
					t.Parallel()
					r := newRig(t, manners)
					r.options.SaveInterval = time.Hour
					r.openBehind()
					r.one().Recover()
					r.awaitSettled("one")
					r.options.MinStay = 100 * time.Millisecond // is waited for samples that never come
					before := r.accepted("one")
					r.one().RespondIf(func(*agenttest.Incoming) *agenttest.Answer { return &agenttest.Answer{Status: 503, Store: true} })
					r.scrapes(stored, series)
					r.pass()
					r.awaitAccepted(before + uint64(stored*series))
					r.one().RespondIf(away)
					r.scrapes(n-stored, series)
					r.pass()
					r.crash()
					var asked atomic.Int64
					var over atomic.Bool
					r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
						if asked.Load() > 2 {
							over.Store(true)
							return away(in)
						}
						if in.Samples() == 1 {
							asked.Add(1)
						}
						return nil
					})
					r.open()
					r.awaitTrue("some questions, and the next to wait", &over)
					if a := r.delivery.all()[0].account; !a.Unordered().IsZero() || len(a.Asked().Series) == 0 {
						t.Errorf("unordered up to %s, asked about %v", a.Unordered(), a.Asked())
					}
					requests := r.requests("one")
					end(r)
					if l := r.awaitSettled("one"); l.Delivered != l.Appended || r.accepted("one") < before+n*series {
						t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
					}
					if requests = r.requests("one") - requests; requests > 100 {
						t.Errorf("%d requests", requests)
					}
				})
			}
		}
	}
}

// TestQuestionsAreWrittenFirst: nothing is asked about a series before delivery.json says
// so.
func TestQuestionsAreWrittenFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.options.SaveInterval = time.Hour
	r.openBehind()
	r.one().RespondIf(func(*agenttest.Incoming) *agenttest.Answer { return &agenttest.Answer{Status: 503, Store: true} })
	before := r.accepted("one")
	r.scrapes(5, 40)
	r.pass()
	r.awaitAccepted(before + 5*40)
	r.crash()
	r.one().RespondIf(away)
	r.open()
	earlier := r.requests("one")
	d := r.delivery.all()[0]
	r.delivery.marks.mtx.Lock() // as while they are written
	unlock := sync.OnceFunc(r.delivery.marks.mtx.Unlock)
	defer unlock()
	r.one().Recover()
	r.eventually("it to want to ask", func() error {
		if len(d.account.Asked().Series) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	for _, in := range r.one().Snapshot().Requests[earlier:] {
		if in.Samples == 1 {
			t.Error("it was asked before it was written")
		}
	}
	unlock()
	if l := r.awaitSettled("one"); l.Delivered != l.Appended {
		t.Errorf("%+v", l)
	}
	if saved, err := ledger.Load(r.dir); err != nil || len(saved.Destinations["one"].Asked.Series) == 0 || !saved.Destinations["one"].Unordered.IsZero() {
		t.Errorf("it was not written: %+v, %v", saved.Destinations, err)
	}
}

// TestAside: the samples of series that were asked about go first, in no order, and the
// others keep theirs.
func TestAside(t *testing.T) {
	t.Parallel()
	items := grouped([]int64{1, 5}, []int64{1, 6}, []int64{5}, []int64{2, 6})
	var known ledger.Asked
	for _, i := range []int{2, 5} { // b, d
		known.Series = append(known.Series, labels.StableHash(items[i].Series.Labels))
	}
	slices.Sort(known.Series)
	asked, others := part{items: items, before: true, resent: true}.aside(known)
	if got := spell(asked.items); !slices.Equal(got, []string{"b1", "b6", "d2", "d6"}) || !asked.asked || !asked.unordered || !asked.resent {
		t.Errorf("asked about: %v, %+v", got, asked)
	}
	if got := spell(others.items); !slices.Equal(got, []string{"a1", "a5", "c5"}) || others.asked || others.unordered || !others.before {
		t.Errorf("others: %v, %+v", got, others)
	}
}
