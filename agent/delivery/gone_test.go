package delivery

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

func TestPredecessor(t *testing.T) {
	t.Parallel()
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	for _, c := range []struct {
		name   string
		gone   map[string]relative
		wanted []string
		want   string
	}{
		{"new", nil, nil, ""},
		{"its own name", map[string]relative{"me": {"v", at(1)}, "x": {"u", at(2)}}, nil, "me"},
		{"another URL", map[string]relative{"x": {"v", at(1)}}, nil, ""},
		{"renamed", map[string]relative{"x": {"u", at(1)}, "y": {"v", at(2)}}, nil, "x"},
		{"comes back under its name", map[string]relative{"x": {"u", at(1)}}, []string{"x"}, ""},
		{"the last to go", map[string]relative{"x": {"u", at(1)}, "y": {"u", at(3)}, "z": {"u", at(2)}}, nil, "y"},
		{"two at once", map[string]relative{"x": {"u", at(2)}, "y": {"u", at(2)}, "z": {"u", at(1)}}, nil, ""},
	} {
		for range 10 { // in whatever order
			isWanted := func(name string) bool {
				for _, w := range c.wanted {
					if w == name {
						return true
					}
				}
				return false
			}
			if got := predecessor("me", "u", isWanted, c.gone); got != c.want {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
		}
	}
}

// remove takes a destination out of the configuration.
func (r *rig) remove(name string) *agenttest.Endpoint {
	r.t.Helper()
	e := r.endpoints[name]
	delete(r.endpoints, name)
	return e
}

// kept returns what is kept for a destination that is gone.
func (r *rig) kept(name string) Kept {
	r.t.Helper()
	for _, k := range r.delivery.Kept() {
		if k.Name == name {
			if k.Ledger.Appended != k.Ledger.Sum() {
				r.t.Errorf("the ledger does not add up: %+v", k.Ledger)
			}
			return k
		}
	}
	return Kept{}
}

// TestGoneForAMoment: a destination that the configuration did not name for a
// moment, over a reload, a restart, a kill, or a start, has lost nothing when it is
// back, also under another name; what was scraped meanwhile is delivered as well.
func TestGoneForAMoment(t *testing.T) {
	t.Parallel()
	for name, moment := range map[string]func(r *rig){
		"reload":  func(r *rig) { r.apply() },
		"restart": func(r *rig) { r.apply(); r.close(); r.open() },
		"kill":    func(r *rig) { r.apply(); r.crash(); r.pass(); r.open() },
		"start":   func(r *rig) { r.close(); r.open() },
		"starts":  func(r *rig) { r.close(); r.open(); r.close(); r.open() },
	} {
		for _, as := range []string{"one", "renamed"} {
			for _, healthy := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s as %s, healthy %v", name, as, healthy), func(t *testing.T) {
					t.Parallel()
					r := newRig(t, agenttest.Manners{})
					two := r.addDestination("two", agenttest.Manners{})
					r.open()
					r.awaitState("one", Live)
					r.awaitState("two", Live)
					r.scrapes(10, 50)
					r.awaitSettled("one")
					r.awaitSettled("two")
					if !healthy {
						r.goBehind("one")
						r.scrapes(10, 50)
						r.pass()
					}
					appended := r.status("one").Ledger.Appended
					e := r.remove("one")
					moment(r)
					r.eventually("it to be counted", func() error {
						if k := r.kept("one"); k.Ledger.Appended != appended || k.URL == "" || k.Since.IsZero() || !k.Until.After(time.Now()) {
							return fmt.Errorf("%+v, %d were appended", k, appended)
						}
						return nil
					})
					r.scrapes(10, 50)
					r.pass()
					if got := r.kept("one").Ledger.Appended; got != appended+500 {
						t.Errorf("%d were appended, the ledger says %d", appended+500, got)
					}
					r.endpoints[as] = e
					e.Recover()
					r.apply()
					l := r.awaitSettled(as)
					if l.Appended != appended+500 || l.Delivered != l.Appended || len(r.delivery.Kept()) > 0 || r.delivery.Forgotten() != 0 {
						t.Errorf("%+v, %d were appended; kept: %+v", l, appended+500, r.delivery.Kept())
					}
					if lost := e.Snapshot().Lost(); len(lost) > 0 || r.accepted(as) != l.Appended {
						t.Errorf("%d samples were lost, the endpoint has %d", len(lost), r.accepted(as))
					}
					if got := r.awaitSettled("two"); got.Delivered != got.Appended || len(two.Snapshot().Lost()) > 0 {
						t.Errorf("the other: %+v", got)
					}
				})
			}
		}
	}
}

// TestGoneBoth: when every destination is gone, each gets back what is its own,
// under whatever name.
func TestGoneBoth(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.addDestination("two", agenttest.Manners{})
	r.open()
	r.goBehind("one")
	r.goBehind("two")
	r.scrapes(5, 20)
	r.pass()
	one, two := r.remove("one"), r.remove("two")
	r.apply()
	if len(r.delivery.Status()) != 0 || len(r.delivery.Kept()) != 2 {
		t.Fatalf("%+v, kept %+v", r.delivery.Status(), r.delivery.Kept())
	}
	r.scrapes(5, 20)
	r.pass()
	r.endpoints["uno"], r.endpoints["due"] = one, two
	one.Recover()
	two.Recover()
	r.apply()
	for _, name := range []string{"uno", "due"} {
		if l := r.awaitSettled(name); l.Appended < 200 || l.Delivered != l.Appended || len(r.endpoints[name].Snapshot().Lost()) > 0 {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

// TestForgotten: what is kept is dropped when its time is over, which goes on over
// restarts, and counted; its space is released.
func TestForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.addDestination("two", agenttest.Manners{})
	r.open()
	r.awaitState("two", Live)
	r.goBehind("one")
	r.scrapes(200, 500)
	r.awaitSettled("two")
	held := r.backlog.Usage().TotalBytes
	r.remove("one")
	r.apply()
	r.close()
	saved, err := ledger.Load(r.dir)
	if s := saved.Destinations["one"]; err != nil || s.GoneSince.IsZero() || s.GoneFor <= 0 || s.Terms.OnDisk == 0 {
		t.Fatalf("delivery.json has %+v, %v", s, err)
	}
	r.options.ForgetAfter = saved.Destinations["one"].GoneFor + time.Millisecond
	onDisk := saved.Destinations["one"].Terms.OnDisk
	r.open()
	r.eventually("it to be forgotten", func() error {
		if k := r.delivery.Kept(); len(k) > 0 {
			return fmt.Errorf("%+v", k)
		}
		return nil
	})
	r.eventually("its space to be released", func() error {
		if u := r.backlog.Usage().TotalBytes; u > held/2 {
			return fmt.Errorf("%d bytes of %d", u, held)
		}
		return nil
	})
	if got := r.delivery.Forgotten(); got != onDisk {
		t.Errorf("%d forgotten, expected %d", got, onDisk)
	}
	r.close()
	r.open()
	if got := r.delivery.Forgotten(); got != onDisk || len(r.delivery.Kept()) > 0 {
		t.Errorf("after a restart: %d forgotten, expected %d; kept %+v", got, onDisk, r.delivery.Kept())
	}
}

// TestForget: an operator drops what is kept; nothing of what is configured, and
// nothing that there is not.
func TestForget(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.addDestination("two", agenttest.Manners{})
	r.open()
	r.goBehind("one")
	r.scrapes(5, 20)
	if _, err := r.delivery.Forget("one"); !errors.Is(err, ErrConfigured) {
		t.Errorf("one that is configured: %v", err)
	}
	if _, err := r.delivery.Forget("three"); !errors.Is(err, ErrNotKept) {
		t.Errorf("one that never was: %v", err)
	}
	r.remove("one")
	r.apply()
	onDisk := r.kept("one").BacklogSamples
	if n, err := r.delivery.Forget("one"); err != nil || n != onDisk || n < 100 || r.delivery.Forgotten() != n {
		t.Errorf("%d samples, %v; on disk were %d, counted %d", n, err, onDisk, r.delivery.Forgotten())
	}
	if _, err := r.delivery.Forget("one"); !errors.Is(err, ErrNotKept) || len(r.delivery.Kept()) > 0 {
		t.Errorf("one that is forgotten: %v, kept %+v", err, r.delivery.Kept())
	}
	delivered := r.delivery
	r.close()
	if _, err := delivered.Forget("one"); err == nil {
		t.Error("after the end")
	}
	r.open()
	if len(r.delivery.Kept()) > 0 {
		t.Errorf("after a restart: %+v", r.delivery.Kept())
	}
}

// TestGoneDroppedAtOnce: without a time to keep it, what belongs to a destination
// goes with it.
func TestGoneDroppedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.ForgetAfter = 0
	r.open()
	r.goBehind("one")
	r.scrapes(5, 20)
	onDisk := r.status("one").Ledger.OnDisk
	r.remove("one")
	r.apply()
	if k := r.delivery.Kept(); len(k) > 0 || r.delivery.Forgotten() != onDisk {
		t.Errorf("kept %+v, forgotten %d of %d", k, r.delivery.Forgotten(), onDisk)
	}
}

// TestGoneEvictedFirst: what is kept for a destination that is gone is the first to
// go when the budget is used up, and costs those that are configured nothing.
func TestGoneEvictedFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.store.MaxBytes, r.store.SegmentSize = 1<<20, 32<<10
	r.addDestination("two", agenttest.Manners{})
	r.open()
	r.awaitState("two", Live)
	r.goBehind("one")
	r.remove("one")
	r.apply()
	r.eventually("its data to be evicted", func() error {
		r.scrapes(1, 1000)
		r.awaitSettled("two")
		if k := r.kept("one"); k.Ledger.Evicted < 10_000 {
			return fmt.Errorf("%+v", k)
		}
		return nil
	})
	two := r.awaitSettled("two")
	if two.Evicted != 0 || two.NotAppended != 0 || two.Delivered != two.Appended {
		t.Errorf("the one that is configured: %+v", two)
	}
	if u := r.backlog.Usage(); u.TotalBytes > u.MaxBytes {
		t.Errorf("the budget is exceeded: %+v", u)
	}
}
