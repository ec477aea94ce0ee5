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
	f := File{Generation: 3, Clean: true, Forgotten: 17, Tail: pos(3, 1, 0), Destinations: map[string]Saved{
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
	if got.Forgotten != 17 || !gone.GoneSince.Equal(since) || gone.GoneFor != 90*time.Minute || gone.Terms.OnDisk != 5 || !here.GoneSince.IsZero() || here.GoneFor != 0 {
		t.Errorf("%+v", got)
	}
}
