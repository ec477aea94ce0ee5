package delivery

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// unsaid ends a run as a kill does one that could not write delivery.json: the next has
// what the run before it has left.
func (r *rig) unsaid(during func()) {
	r.t.Helper()
	path := filepath.Join(r.dir, "delivery.json")
	before, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.open()
	during()
	r.crash()
	if err := os.WriteFile(filepath.Join(r.dir, "delivery.json"), before, 0o640); err != nil {
		r.t.Fatal(err)
	}
}

// closedRig has a run behind it that has delivered something, and returns how much.
func closedRig(t *testing.T, manners agenttest.Manners) (r *rig, before uint64) {
	t.Helper()
	r = newRig(t, manners)
	r.options.SaveInterval = time.Hour
	r.openBehind()
	r.one().Recover()
	r.awaitSettled("one")
	r.close()
	return r, r.accepted("one")
}

// TestRunThatCouldSayNothing: after a run that could not say in which order it sent, what the
// endpoint does with partial writes is found out by a few series, and not a sample of it is
// asked about where the good samples of a refused request are stored.
func TestRunThatCouldSayNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		manners   agenttest.Manners
		n, series int
		partial   partialWrites
		requests  int
	}{
		"stores partial writes": {agenttest.Manners{}, 10, 60, partialStored, 120},
		"all or nothing":        {agenttest.Manners{AllOrNothing: true}, 10, 60, partialRolledBack, 2 * 10 * 60},
		"many series":           {agenttest.Manners{}, 52, mostRead/50 + 1, partialStored, 500},
	} {
		n, series := c.n, c.series
		for _, stored := range []int{n, n / 2} { // scrapes, of those that were sent
			t.Run(fmt.Sprintf("%s, %d stored", name, stored), func(t *testing.T) {
				t.Parallel()
				r, before := closedRig(t, c.manners)
				r.options.MinStay = 10 * time.Second
				r.unsaid(func() {
					r.scrapes(stored, series)
					r.awaitAccepted(before + uint64(stored*series))
					r.one().RespondIf(away)
					r.scrapes(n-stored, series)
				})
				requests := r.requests("one")
				r.one().Recover()
				r.open()
				if a := r.delivery.all()[0].account; a.Unordered().IsZero() {
					t.Error("it is taken for ordered")
				}
				r.scrapes(toTell, series) // which the endpoint cannot have
				l := r.awaitSettled("one")
				if l.Delivered != l.Appended || r.accepted("one") != before+uint64((n+toTell)*series) {
					t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
				}
				if requests = r.requests("one") - requests; requests > c.requests {
					t.Errorf("%d requests", requests)
				}
				if p := r.delivery.all()[0].partialWrites(); p != c.partial {
					t.Errorf("it is taken for %d", p)
				}
			})
		}
	}
}

// TestAmongSeriesThatComeOnce: that is found out as well where there are many more series of
// which nothing can be asked, as they come once.
func TestAmongSeriesThatComeOnce(t *testing.T) {
	t.Parallel()
	const n, series, once = 10, 60, 300
	r, before := closedRig(t, agenttest.Manners{})
	r.options.MinStay = 10 * time.Second
	scrapes := func(n int) {
		for range n {
			r.scrapes(1, series)
			app := r.append.AppenderV2(t.Context())
			for i := range once {
				r.add(app, labels.FromStrings("__name__", "once", "i", fmt.Sprint(i), "at", fmt.Sprint(r.last.UnixMilli())), r.last, 1)
			}
			if err := app.Commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.unsaid(func() {
		scrapes(n)
		r.awaitAccepted(before + n*(series+once))
	})
	requests := r.requests("one")
	r.open()
	scrapes(toTell) // which the endpoint cannot have
	l := r.awaitSettled("one")
	if l.Delivered != l.Appended || r.accepted("one") != before+(n+toTell)*(series+once) {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
	if requests = r.requests("one") - requests; requests > 150 {
		t.Errorf("%d requests", requests)
	}
}

// TestSeriesWereAsked: nor is each sample of series that runs before have asked about.
func TestSeriesWereAsked(t *testing.T) {
	t.Parallel()
	const n, series, asked = 20, 60, 40
	for _, stored := range []int{n, n / 2} { // scrapes, of those that were sent
		t.Run(fmt.Sprintf("%d stored", stored), func(t *testing.T) {
			t.Parallel()
			r, before := closedRig(t, agenttest.Manners{})
			r.options.MinStay = 10 * time.Second
			r.open()
			r.goBehind("one")
			r.one().RespondIf(func(*agenttest.Incoming) *agenttest.Answer { return &agenttest.Answer{Status: 503, Store: true} })
			r.scrapes(stored, series)
			r.awaitAccepted(before + uint64(stored*series))
			r.one().RespondIf(away)
			r.scrapes(n-stored, series)
			r.crash()
			saved := r.saved()
			d := saved.Destinations["one"]
			d.Asked = ledger.Asked{Before: d.Mark}
			for i := range asked {
				d.Asked.Series = append(d.Asked.Series, labels.StableHash(seriesOf(i)))
			}
			slices.Sort(d.Asked.Series)
			saved.Destinations["one"] = d
			if _, err := ledger.Write(r.dir, saved); err != nil {
				t.Fatal(err)
			}
			requests := r.requests("one")
			r.one().Recover()
			r.open()
			if a := r.delivery.all()[0].account; !a.Unordered().IsZero() || a.Asked().Before.Compare(a.Mark()) <= 0 {
				t.Errorf("unordered up to %s, asked about %v", a.Unordered(), a.Asked())
			}
			r.scrapes(toTell, series) // which the endpoint cannot have
			l := r.awaitSettled("one")
			if l.Delivered != l.Appended || r.accepted("one") < before+(n+toTell)*series {
				t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
			}
			if requests = r.requests("one") - requests; requests > 150 {
				t.Errorf("%d requests", requests)
			}
		})
	}
}

// TestProgressOneByOne: where each sample has to be asked about by itself, a run that ends
// before the last of them has got further all the same.
func TestProgressOneByOne(t *testing.T) {
	t.Parallel()
	const n, series = 40, 60
	r, before := closedRig(t, agenttest.Manners{AllOrNothing: true})
	r.unsaid(func() {
		r.scrapes(n, series)
		r.awaitAccepted(before + n*series)
	})
	var over atomic.Bool
	left := 1500
	r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
		if left--; left < 0 {
			over.Store(true)
			return away(in)
		}
		return nil
	})
	r.options.MinStay = 10 * time.Millisecond // for samples that never come
	r.open()
	account := r.delivery.all()[0].account
	begun := account.Terms().Delivered
	r.awaitTrue("some questions", &over)
	if settled := account.Terms().Delivered - begun; settled < 5*series || settled >= n*series {
		t.Errorf("%d are settled", settled)
	}
	r.one().Recover()
	if l := r.awaitSettled("one"); l.Delivered != l.Appended || r.accepted("one") != before+n*series {
		t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
	}
}

// TestOthersAreThere: nor where none of the series that are asked about is there, but others.
func TestOthersAreThere(t *testing.T) {
	t.Parallel()
	const n, series, there = 20, 60, 30
	r, _ := closedRig(t, agenttest.Manners{})
	r.unsaid(func() {
		r.one().RespondIf(away)
		r.scrapes(n, series)
	})
	r.one().Recover()
	for _, i := range lowest(series)[series-there:] {
		post(t, r.one(), labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), r.last.UnixMilli(), 99)
	}
	before := r.accepted("one")
	requests := r.requests("one")
	r.options.MinStay = 100 * time.Millisecond
	r.open()
	l := r.awaitSettled("one")
	if stored := r.accepted("one") - before; l.Delivered != l.Appended || stored != n*(series-there) {
		t.Errorf("the endpoint took %d: %+v", stored, l)
	}
	if requests = r.requests("one") - requests; requests > 100 {
		t.Errorf("%d requests", requests)
	}
}

// TestForeignWitness: that somebody else writes ahead of us in the series that are asked
// about does not have what is lost taken for delivered.
func TestForeignWitness(t *testing.T) {
	t.Parallel()
	const n, series = 10, 20
	r, before := closedRig(t, agenttest.Manners{AllOrNothing: true})
	r.unsaid(func() {
		r.scrapes(n/2, series)
		r.awaitAccepted(before + n/2*series)
		r.one().RespondIf(away)
		r.scrapes(n-n/2, series)
	})
	// Between two of our requests, in the series that is asked about; once in each.
	foreign := map[string]bool{}
	r.one().RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
		if in.Samples() != 3 {
			return nil
		}
		last := in.Write.Timeseries[len(in.Write.Timeseries)-1].Labels
		var b labels.ScratchBuilder
		for _, l := range last {
			b.Add(l.Name, l.Value)
		}
		if ls := b.Labels(); !foreign[ls.String()] {
			foreign[ls.String()] = true
			post(t, r.one(), ls, time.Now().Add(5*time.Minute).UnixMilli(), 99)
		}
		return nil
	})
	r.options.MinStay = 100 * time.Millisecond
	r.open()
	l := r.awaitSettled("one")
	if p := r.delivery.all()[0].partialWrites(); p == partialStored {
		t.Error("it is taken for one that stores partial writes")
	}
	// Of the series in which somebody else is ahead, it is not known.
	if stored := r.accepted("one") - before; len(foreign) == 0 || l.Delivered != l.Appended || int(stored) < n*(series-len(foreign)) {
		t.Errorf("%d foreign, the endpoint took %d: %+v", len(foreign), stored, l)
	}
}

// TestForeignTwin: nor that somebody else has written between two of our samples, as a twin
// of this agent does.
func TestForeignTwin(t *testing.T) {
	t.Parallel()
	const n, series = 10, 20
	r, before := closedRig(t, agenttest.Manners{AllOrNothing: true})
	begin := r.next()
	at := func(i int) time.Time { return begin.Add(time.Duration(i) * 10 * time.Millisecond) }
	r.unsaid(func() {
		for i := range n {
			r.scrape(series, at(i))
		}
		r.awaitAccepted(before + n*series)
	})
	asked := r.requests("one")
	r.options.MinStay = 10 * time.Second
	r.open()
	r.eventually("questions about all that is there", func() error {
		if now := r.requests("one") - asked; now < witnessesAsked*n {
			return fmt.Errorf("%d", now)
		}
		return nil
	})
	for i := range series {
		post(t, r.one(), labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), at(n).UnixMilli()+5, 99)
	}
	for i := range toTell {
		r.scrape(series, at(n+i))
	}
	l := r.awaitSettled("one")
	if p := r.delivery.all()[0].partialWrites(); p == partialStored {
		t.Errorf("it is taken for one that stores partial writes: %+v", l)
	}
	for _, s := range r.one().Snapshot().Series() {
		want := n + toTell // but for the first of these, that the twin has overtaken, and with the twin's
		if s.Labels.Get("i") == "0" {
			want++ // which took it behind
		}
		if s.Labels.Get("__name__") == "m" && s.Count != want {
			t.Errorf("%s: %d", s.Labels, s.Count)
		}
	}
}

// TestForeignBehindWhatWasSent: what somebody else is ahead of us with does not have it taken
// for sent before, behind what was: it is refused.
func TestForeignBehindWhatWasSent(t *testing.T) {
	t.Parallel()
	const n, series, foreign = 10, 20, witnessesAsked
	for _, stored := range []bool{false, true} { // what was sent before
		r, before := closedRig(t, agenttest.Manners{AllOrNothing: true})
		r.unsaid(func() {
			if !stored {
				r.one().RespondIf(away)
			}
			r.scrapes(n, series)
			if stored {
				r.awaitAccepted(before + n*series)
			}
		})
		r.one().Recover()
		for _, i := range lowest(series)[:foreign] {
			post(t, r.one(), labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), time.Now().Add(5*time.Minute).UnixMilli(), 99)
		}
		r.one().RespondIf(away)
		r.options.MinStay = 100 * time.Millisecond
		r.open()
		r.scrapes(5*n, series)
		r.one().Recover()
		l := r.awaitSettled("one")
		if l.Delivered > 1+uint64(n*series+5*n*(series-foreign)) || l.Delivered+ledger.Total(l.Refused)+ledger.Total(l.Uncertain) != l.Appended {
			t.Errorf("%+v", l)
		}
	}
}

// lowest returns the numbers of so many series m, that with the lowest hash first.
func lowest(series int) []int {
	hash := func(i int) uint64 { return labels.StableHash(labels.FromStrings("__name__", "m", "i", fmt.Sprint(i))) }
	out := make([]int, series)
	for i := range out {
		out[i] = i
	}
	slices.SortFunc(out, func(a, b int) int { return cmp.Compare(hash(a), hash(b)) })
	return out
}

// TestWitnessesDoNotLead: an endpoint that takes nothing from more than an hour before the
// newest that it has is not led away from a long backlog by series that begin late.
func TestWitnessesDoNotLead(t *testing.T) {
	t.Parallel()
	for name, gap := range map[string]bool{"hours of backlog": false, "one scrape, and hours without": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			witnessesDoNotLead(t, gap)
		})
	}
}

// witnessesDoNotLead has a backlog of three hours, in whose last minutes series are new. gap:
// of what is before them, there is the first scrape only.
func witnessesDoNotLead(t *testing.T, gap bool) {
	t.Helper()
	r := newRig(t, agenttest.Manners{})
	r.options.SaveInterval = time.Hour
	r.open()
	r.awaitState("one", Live)
	r.awaitSettled("one")
	r.close()
	now := time.Now()
	n := 0
	r.unsaid(func() {
		r.one().RespondIf(away)
		begin := now.Add(-3 * time.Hour)
		for at := begin; at.Before(now); at = at.Add(30 * time.Second) {
			if gap && at.After(begin) && now.Sub(at) >= 4*time.Minute {
				continue
			}
			app := r.append.AppenderV2(t.Context())
			for i := range 40 {
				r.add(app, labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), at, 1)
				n++
			}
			for i := range 40 {
				if now.Sub(at) < 4*time.Minute {
					r.add(app, labels.FromStrings("__name__", "young", "i", fmt.Sprint(i)), at, 1)
					n++
				}
			}
			if err := app.Commit(); err != nil {
				t.Fatal(err)
			}
		}
	})
	r.one().Recover()
	r.options.MinStay = 100 * time.Millisecond
	r.open()
	if l := r.awaitSettled("one"); int(l.Delivered) != n || int(r.accepted("one")) != n {
		t.Errorf("the endpoint holds %d of %d: %+v", r.accepted("one"), n, l)
	}
}
