package ledger

import (
	"reflect"
	"testing"
)

func TestTotals(t *testing.T) {
	t.Parallel()
	b := NewBook(running, 100)
	b.Append(10, running)
	b.NotAppended(1)
	a := b.Open("one", Saved{Mark: pos(running, 1, 10)}, false)
	b.Append(20, running)
	b.Append(5, running+1)
	b.NotAppended(2)
	if appended, notAppended := b.Totals(); appended != 35 || notAppended != 103 {
		t.Errorf("appended %d, not appended %d", appended, notAppended)
	}
	// What was before it began is none of its business.
	want := Terms{Appended: 25, OnDisk: 25, NotAppended: 2}
	if got := a.Terms(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, expected %+v", got, want)
	}
	if got := b.Remove("two"); !reflect.DeepEqual(got, Saved{}) {
		t.Errorf("removed %+v", got)
	}
}

// TestSnapshots: what is handed out does not change any more, nor does it change
// the account.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	b, a := newAccount()
	var o Outcome
	o.Refuse("http_400", 1)
	a.Settle(pos(running, 1, 10), o)
	terms, saved, all := a.Terms(), b.Saved(), b.Terms()
	a.Settle(pos(running, 1, 20), o)
	for i, m := range []map[string]uint64{terms.Refused, saved["one"].Terms.Refused, all["one"].Refused} {
		if m["http_400"] != 1 {
			t.Errorf("snapshot %d has %v", i, m)
		}
		m["http_400"] = 1000
	}
	if got := a.Terms().Refused["http_400"]; got != 2 {
		t.Errorf("refused %d", got)
	}
}

// TestReopen: an account under a new name goes on where it was, with what was
// appended in between.
func TestReopen(t *testing.T) {
	t.Parallel()
	b, a := old(10, true)
	b.Append(7, running)
	a.MaySent(pos(2, 1, 50))
	hold(t, a, pos(2, 1, 0), pos(2, 1, 100), 4)
	a.Settle(pos(2, 1, 50), Outcome{Delivered: 1})
	hold(t, a, pos(running, 1, 0), pos(running, 1, 100), 9) // two of which nobody has counted yet
	s := b.Remove("one")
	if want := (Terms{Appended: 17, Delivered: 1, OnDisk: 16}); !reflect.DeepEqual(s.Terms, want) || s.Mark != pos(2, 1, 50) {
		t.Errorf("removed %+v", s)
	}
	b.Append(2, running)
	b.NotAppended(3)
	b.Recovered(20)
	s.URL = "http://example.org/"
	c := b.Open("two", s, false)
	if want := (Terms{Appended: 39, Delivered: 1, OnDisk: 38, NotAppended: 3}); !reflect.DeepEqual(c.Terms(), want) {
		t.Errorf("%+v, expected %+v", c.Terms(), want)
	}
	if got := b.Saved(); len(got) != 1 || got["two"].URL != s.URL || got["two"].Mark != s.Mark || got["two"].Sent != s.Sent {
		t.Errorf("%+v", got)
	}
	// Nothing of the generations is mixed up: 29 of the old ones, 9 of the running.
	c.Crossed(running)
	if got := c.Terms(); got.Lost != 29 || got.OnDisk != 9 || c.Counting() {
		t.Errorf("%+v, counting: %v", got, c.Counting())
	}
}

// TestReopenAhead: an account is removed when it has read what is not yet counted
// as appended.
func TestReopenAhead(t *testing.T) {
	t.Parallel()
	b, a := newAccount()
	a.Settle(pos(running, 1, 100), Outcome{Delivered: 5})
	s := b.Remove("one")
	if s.Terms.Appended != 5 {
		t.Errorf("%+v", s.Terms)
	}
	a.Settle(pos(running, 1, 150), Outcome{Delivered: 1}) // too late
	b.Append(5, running)
	c := b.Open("one", s, true)
	if want := (Terms{Appended: 5, Delivered: 5}); !reflect.DeepEqual(c.Terms(), want) || c.Counting() {
		t.Errorf("%+v, counting: %v", c.Terms(), c.Counting())
	}
	// What has been removed is not changed by who goes on with it.
	c.Settle(pos(running, 1, 200), Outcome{Delivered: 100})
	d := b.Open("two", s, true)
	for _, a := range []*Account{d, c} {
		if residue, want := a.Drained(pos(running, 1, 100)), int64(a.Terms().Delivered); residue != 5-want {
			t.Errorf("%d remained of %d", residue, want)
		}
	}
}

// TestOpenAfterRecovered: the order of the two does not matter.
func TestOpenAfterRecovered(t *testing.T) {
	t.Parallel()
	b := NewBook(running, 0)
	b.Append(5, running)
	b.Recovered(20)
	for _, c := range []struct {
		name     string
		counting bool
		appended uint64
	}{
		// Where there was no file, everything on disk is recovered.
		{"everything", true, 25},
		{"begins now", false, 0},
	} {
		a := b.Open(c.name, Saved{Mark: pos(1, 0, 0)}, c.counting)
		if got := a.Terms(); got.Appended != c.appended || got.OnDisk != c.appended || a.Counting() {
			t.Errorf("%s: %+v, counting: %v", c.name, got, a.Counting())
		}
	}
}

// TestSavedWhileCounting: of what is not counted, the file says so, and has nothing
// behind the mark; the next run counts it from there.
func TestSavedWhileCounting(t *testing.T) {
	t.Parallel()
	b := NewBook(running, 0)
	a := b.Open("a", Saved{Mark: pos(1, 0, 0)}, true)
	b.Append(5, running)
	a.Settle(pos(1, 0, 100), Outcome{Delivered: 3})
	s := b.Saved()["a"]
	if !s.Counting || s.Mark != pos(1, 0, 100) || s.Terms.Appended != 3 || s.Terms.OnDisk != 0 || s.Terms.Delivered != 3 {
		t.Errorf("%+v", s)
	}
	dir := t.TempDir()
	if _, err := Write(dir, File{Generation: running, Destinations: b.Saved()}); err != nil {
		t.Fatal(err)
	}
	f, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	next := NewBook(running+1, 0)
	a = next.Open("a", f.Destinations["a"], true)
	a.Recovered(17)
	next.Recovered(2) // for others
	if got := a.Terms(); got.Appended != 20 || got.OnDisk != 17 || a.Counting() {
		t.Errorf("%+v", got)
	}
	a.Settle(pos(running, 1, 100), Outcome{Delivered: 17})
	a.Crossed(running + 1)
	if got := a.Terms(); got.Appended != 20 || got.Lost != 0 || next.Saved()["a"].Counting {
		t.Errorf("%+v", got)
	}
}
