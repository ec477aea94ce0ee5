package delivery

import (
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestPowerCutAfterDelivery: what was delivered need not be on disk. Without it, after a
// power cut, marks lie behind the end of what is left, and nothing is lost or damaged.
func TestPowerCutAfterDelivery(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(t *testing.T, r *rig){
		"marks of all that was delivered": func(t *testing.T, r *rig) {
			r.scrapes(20, 50)
			r.awaitSettled("one")
			if err := r.delivery.marks.saveAndRelease(false); err != nil {
				t.Fatal(err)
			}
		},
		"marks of a while ago": func(t *testing.T, r *rig) {
			if err := r.delivery.marks.saveAndRelease(false); err != nil {
				t.Fatal(err)
			}
			r.scrapes(20, 50)
			r.awaitSettled("one")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			r.options.SaveInterval = time.Hour
			r.open()
			r.awaitState("one", Live)
			r.scrapes(10, 50)
			r.awaitSettled("one")
			before(t, r)
			r.crash()
			cutLastSegment(t, r.dir, 2000)
			r.pass()
			r.open()
			r.scrapes(5, 50)
			l := r.awaitSettled("one")
			if l.Lost != 0 || l.LostStretches != 0 || l.DamagedBytes != 0 || l.Delivered != l.Appended || r.accepted("one") != 1750 {
				t.Errorf("the endpoint holds %d of %+v", r.accepted("one"), l)
			}
		})
	}
}

// TestMarksOfWhatWaits: marks count what waits on disk as appended, so it is synced
// before they are written; what is delivered is not.
func TestMarksOfWhatWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.SaveInterval = time.Hour
	r.store.SyncInterval = time.Hour
	r.open()
	r.awaitState("one", Live)
	r.scrapes(10, 50)
	r.awaitSettled("one")
	save := func() {
		t.Helper()
		if err := r.delivery.marks.saveAndRelease(false); err != nil {
			t.Fatal(err)
		}
	}
	save()
	if r.delivery.Delivered().Compare(r.backlog.End()) != 0 {
		t.Errorf("delivered up to %s of %s", r.delivery.Delivered(), r.backlog.End())
	}
	if n := r.syncs(); n != 0 {
		t.Errorf("%v syncs of what was delivered", n)
	}
	r.goBehind("one")
	r.scrapes(1, 50)
	save()
	if n := r.syncs(); n != 1 {
		t.Errorf("%v syncs of what waits on disk, expected one", n)
	}
	save()
	if n := r.syncs(); n != 1 {
		t.Errorf("%v syncs without anything new", n)
	}
}

// syncs of the WAL so far.
func (r *rig) syncs() float64 {
	r.t.Helper()
	families, err := r.storeMetrics.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "opstrace_agent_backlog_syncs_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	r.t.Fatal("there is no metric of syncs")
	return 0
}
