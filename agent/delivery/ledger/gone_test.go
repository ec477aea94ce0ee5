package ledger

import (
	"testing"
	"time"
)

// A destination that is gone is written as such, and what was forgotten is counted
// over restarts. Of one that is configured, the file says nothing new.
func TestWriteGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	since := time.UnixMilli(1795747359668)
	f := File{Generation: 3, Clean: true, Forgotten: 17, Overtaken: Overtaken{UpTo: 23, From: 2}, Tail: pos(3, 1, 0), Destinations: map[string]Saved{
		"gone": {URL: "http://localhost/", Mark: pos(2, 1, 0), GoneSince: since, GoneFor: 90 * time.Minute, Terms: Terms{Appended: 5, OnDisk: 5}},
		"here": {URL: "http://localhost/b", Mark: pos(3, 1, 0)},
	}}
	if _, err := Write(dir, f); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	gone, here := got.Destinations["gone"], got.Destinations["here"]
	if got.Forgotten != 17 || got.Overtaken != f.Overtaken || !gone.GoneSince.Equal(since) || gone.GoneFor != 90*time.Minute || gone.Terms.OnDisk != 5 || !here.GoneSince.IsZero() || here.GoneFor != 0 {
		t.Errorf("%+v", got)
	}
}

func TestOvertaken(t *testing.T) {
	t.Parallel()
	none, early, late := Overtaken{}, Overtaken{UpTo: 1000, From: 3}, Overtaken{UpTo: 2000, From: 5}
	for _, tc := range []struct {
		all        Overtaken
		generation int
		t          int64
		want       bool
	}{
		{none, 9, -1, false},
		{early, 3, 1000, true},
		{early, 3, 1001, false},
		{early, 2, 1000, false},
		{early.And(late), 3, 2000, true},
		{late.And(early), 2, 1, false},
		{none.And(late), 4, 1, false},
		{late.And(none), 5, 2000, true},
	} {
		if got := tc.all.Has(tc.generation, tc.t); got != tc.want {
			t.Errorf("%+v: %d of generation %d: %v", tc.all, tc.t, tc.generation, got)
		}
	}
}
