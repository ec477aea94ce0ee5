package delivery

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/backlog"
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
		"stores partial writes": {agenttest.Manners{}, partialStored, 100},
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
				r.scrapes(2, series) // which the endpoint cannot have
				l := r.awaitSettled("one")
				if l.Delivered != l.Appended || r.accepted("one") != before+(n+2)*series {
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
	const n, series = 10, 60
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
	left := 300
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
	if settled := account.Terms().Delivered - begun; settled == 0 || settled >= n*series {
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

// TestWitnesses: of many series some are kept, whose samples ascend, are not dated oddly, and
// go on; the shortest is first.
func TestWitnesses(t *testing.T) {
	t.Parallel()
	ws := newWitnesses()
	named := func(name string) *remotewrite.Series {
		return &remotewrite.Series{Labels: labels.FromStrings("__name__", name)}
	}
	const minute = int64(60_000)
	read := func(at int64, series ...*remotewrite.Series) {
		var items []remotewrite.Item
		for _, s := range series {
			items = append(items, remotewrite.Item{Series: s, T: at})
		}
		ws.read(items, backlog.Position{Segment: int(at / minute)}, minute, 100*minute)
	}
	long, short, old, back, future, ended := named("long"), named("short"), named("old"), named("back"), named("future"), named("ended")
	read(0, old)
	read(10*minute, long, back, future, ended, old)
	read(9*minute, back)
	read(101*minute, future)
	read(11*minute, named("long")) // of another generation
	read(12*minute, short)
	read(20*minute, long, back, future, old)
	read(20*minute-1, short)
	read(20*minute, short)
	ws.read([]remotewrite.Item{{Series: ended, T: 20 * minute, Kind: remotewrite.Exemplar}}, backlog.Position{}, minute, 100*minute)

	chosen := ws.choose(5)
	var got []string
	for _, w := range chosen {
		got = append(got, fmt.Sprint(w.series.Labels.Get("__name__"), len(w.items), w.ends[len(w.ends)-1].Segment))
		for _, it := range w.items {
			if it.Series != w.series {
				t.Error("a request would name the series twice")
			}
		}
	}
	if want := []string{"short3 20", "long3 20"}; !slices.Equal(got, want) && !slices.Equal(got, []string{want[1], want[0]}) {
		t.Errorf("chosen: %q", got)
	}
	read(21*minute, long, named("new"))
	if len(ws.kept) != 2 || len(ws.kept[labels.StableHash(long.Labels)].items) != 4 {
		t.Errorf("kept: %+v", ws.kept)
	}

	ws = newWitnesses()
	var hashes []uint64
	for i := range 10 * mostWitnesses {
		s := named(fmt.Sprint(i))
		hashes = append(hashes, labels.StableHash(s.Labels))
		read(10*minute, s)
	}
	slices.Sort(hashes)
	for at := 11 * minute; at < 11*minute+2*mostOfWitness; at++ {
		for _, w := range ws.kept {
			read(at, w.series)
		}
	}
	for _, hash := range hashes[:mostWitnesses] {
		if w := ws.kept[hash]; w == nil || len(w.items) != mostOfWitness || w.unfit {
			t.Fatalf("kept: %+v", w)
		}
	}
	if chosen := ws.choose(3); len(ws.kept) != 3 || len(chosen) != 3 || chosen[0].hash != hashes[0] {
		t.Errorf("chosen: %d", len(chosen))
	}
	if len(newWitnesses().choose(math.MaxInt)) != 0 {
		t.Error("chosen without any")
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
	} {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{RemoteWrite2: agenttest.AcceptRemoteWrite2})
			r.open()
			d := r.delivery.all()[0]
			d.learnPartial(partialStored)
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
