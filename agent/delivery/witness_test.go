package delivery

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
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

// TestRunThatCouldSayNothing: after a run that could not say in which order it sent, what the
// endpoint does with partial writes is found out by a few series, and not a sample of it is
// asked about where the good samples of a refused request are stored.
func TestRunThatCouldSayNothing(t *testing.T) {
	t.Parallel()
	const n, series = 10, 60
	for name, c := range map[string]struct {
		manners  agenttest.Manners
		partial  partialWrites
		requests int
	}{
		"stores partial writes": {agenttest.Manners{}, partialStored, 120},
		"all or nothing":        {agenttest.Manners{AllOrNothing: true}, partialRolledBack, 2 * n * series},
	} {
		for _, stored := range []int{n, n / 2} { // scrapes, of those that were sent
			t.Run(fmt.Sprintf("%s, %d stored", name, stored), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, c.manners)
				r.options.SaveInterval = time.Hour
				r.options.MinStay = 10 * time.Second
				r.openBehind()
				r.one().Recover()
				r.awaitSettled("one")
				r.close()
				before := r.accepted("one")
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
				if l.Delivered != l.Appended || r.accepted("one") != before+(n+toTell)*series {
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

// TestProgressOneByOne: where each sample has to be asked about by itself, a run that ends
// before the last of them has got further all the same.
func TestProgressOneByOne(t *testing.T) {
	t.Parallel()
	const n, series = 40, 60
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.options.SaveInterval = time.Hour
	r.openBehind()
	r.one().Recover()
	r.awaitSettled("one")
	r.close()
	before := r.accepted("one")
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

// TestForeignWitness: that somebody else writes ahead of us in the series that are asked
// about does not have what is lost taken for delivered.
func TestForeignWitness(t *testing.T) {
	t.Parallel()
	const n, series = 10, 20
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.options.SaveInterval = time.Hour
	r.openBehind()
	r.one().Recover()
	r.awaitSettled("one")
	r.close()
	before := r.accepted("one")
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
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	r.options.SaveInterval = time.Hour
	r.openBehind()
	r.one().Recover()
	r.awaitSettled("one")
	r.close()
	before := r.accepted("one")
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
		r := newRig(t, agenttest.Manners{AllOrNothing: true})
		r.options.SaveInterval = time.Hour
		r.openBehind()
		r.one().Recover()
		r.awaitSettled("one")
		r.close()
		before := r.accepted("one")
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
		for at := now.Add(-3 * time.Hour); at.Before(now); at = at.Add(30 * time.Second) {
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

// TestCandidates: of many series some are looked at, and those are chosen that begin where all
// begin, and whose samples are floats that come often, one after the other.
func TestCandidates(t *testing.T) {
	t.Parallel()
	c := newCandidates()
	const second = int64(1000)
	hashes := map[string]uint64{}
	see := func(at int64, kind remotewrite.ItemKind, names ...string) (enough bool) {
		for _, name := range names {
			s := &remotewrite.Series{Labels: labels.FromStrings("__name__", name)}
			hashes[name] = labels.StableHash(s.Labels)
			enough = c.see(hashes[name], sighting{remotewrite.Item{Series: s, T: 1000*second + at, Kind: kind}, backlog.Position{}}) || enough
		}
		return enough
	}
	see(10*second, remotewrite.FloatSample, "a", "b", "back", "seldom")
	see(-1001*second, remotewrite.FloatSample, "before 1970")
	see(-500*second, remotewrite.FloatSample, "dated back")
	see(10*second, remotewrite.HistogramSample, "histogram")
	see(70*second, remotewrite.FloatSample, "a", "b", "c")
	see(9*second, remotewrite.FloatSample, "back")
	see(131*second, remotewrite.FloatSample, "late", "seldom")
	if see(189*second, remotewrite.FloatSample, "a", "b", "late", "c") {
		t.Error("three minutes have not passed")
	}
	if !see(190*second, remotewrite.FloatSample, "a") {
		t.Error("three minutes have passed")
	}
	var got []string
	for _, w := range c.choose() {
		got = append(got, w.series.Labels.Get("__name__"))
		for _, s := range w.seen {
			if s.Series != w.series {
				t.Error("a request would name the series twice")
			}
		}
	}
	if !slices.IsSortedFunc(got, func(a, b string) int { return cmp.Compare(hashes[a], hashes[b]) }) || len(c.byHash) != 3 {
		t.Errorf("chosen: %q, kept %d", got, len(c.byHash))
	}
	if slices.Sort(got); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("chosen: %q", got)
	}
	if got := c.choose(); len(got) != 0 {
		t.Errorf("%d are chosen of too few", len(got))
	}
	w := &witness{series: &remotewrite.Series{}, caught: true}
	for i := range int64(10) {
		w.see(sighting{remotewrite.Item{T: i + 1}, backlog.Position{}})
	}
	if len(w.seen) != toTell || w.unfit || w.ended(mostApart.Milliseconds()*3) {
		t.Errorf("%d are kept", len(w.seen))
	}
	w.seen = w.seen[1:]
	if w.ended(mostApart.Milliseconds()*2) || !w.ended(mostApart.Milliseconds()*3) {
		t.Error("it has ended")
	}

	w.hash, w.upTo = 7, 5
	if got := witnessed([]*witness{w, {hash: 8}}); !maps.Equal(got, map[uint64]int64{7: 5}) {
		t.Errorf("witnessed: %v", got)
	}
	w.giveUp()
	w.see(sighting{remotewrite.Item{T: 5}, backlog.Position{}}) // was not sent
	if got := witnessed([]*witness{w}); len(got) != 0 {
		t.Errorf("witnessed, with one that is dated back: %v", got)
	}

	c = newCandidates()
	var all []uint64
	for i := range 10 * mostCandidates {
		see(second, remotewrite.FloatSample, fmt.Sprint(i))
		all = append(all, hashes[fmt.Sprint(i)])
	}
	slices.Sort(all)
	if kept := slices.Sorted(maps.Keys(c.byHash)); !slices.Equal(kept, all[:mostCandidates]) {
		t.Errorf("%d are kept", len(kept))
	}
	if got := c.choose(); len(got) != mostWitnesses {
		t.Errorf("%d are chosen", len(got))
	}
	c.read = mostRead - 1
	if !see(second, remotewrite.FloatSample, "last") {
		t.Error("it reads on for ever")
	}
}

// TestReloadKeepsWhatIsKnown: what was found out about an endpoint is known after a reload
// that changes something else of its entry, and not of another endpoint or version.
func TestReloadKeepsWhatIsKnown(t *testing.T) {
	t.Parallel()
	for change, c := range map[string]struct {
		settings string
		kept     bool
	}{
		"headers: {X-New: a}": {"    headers: {X-New: a}\n", true},
		"remote write 2.0":    {"    protobuf_message: io.prometheus.write.v2.Request\n", false},
		"url":                 {"", false},
		"refuted":             {"    headers: {X-New: a}\n", false},
	} {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{RemoteWrite2: agenttest.AcceptRemoteWrite2})
			r.open()
			d := r.delivery.all()[0]
			d.learnStored()
			if change == "refuted" {
				d.learnPartial(partialRolledBack)
			}
			r.extra["one"] = c.settings
			if change == "url" {
				r.urls = map[string]string{"one": r.one().URL() + "?other"}
			}
			r.apply()
			now := r.delivery.all()[0]
			if now == d {
				t.Fatal("it was not begun anew")
			}
			if kept := now.partialWrites() == partialStored; kept != c.kept {
				t.Errorf("kept: %v", kept)
			}
		})
	}
}

// TestRestartKeepsWhatIsKnown: a run that begins within an hour knows what the one before it
// has found out, and no other.
func TestRestartKeepsWhatIsKnown(t *testing.T) {
	t.Parallel()
	for ago, want := range map[time.Duration]partialWrites{0: partialStored, time.Hour + time.Minute: partialUnknown, -time.Hour: partialUnknown} {
		t.Run(ago.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			r.open()
			r.delivery.all()[0].learnStored()
			r.close()
			saved, err := ledger.Load(r.dir)
			if err != nil {
				t.Fatal(err)
			}
			r.open()
			if p := r.delivery.all()[0].partialWrites(); p != partialStored {
				t.Errorf("it is taken for %d", p)
			}
			saved.Written -= ago.Milliseconds()
			r.delivery.opts.Saved = saved
			if kept := r.delivery.inherited(nil)["one"].StoresPartial != ""; kept != (want == partialStored) {
				t.Errorf("kept: %v", kept)
			}
		})
	}
}
