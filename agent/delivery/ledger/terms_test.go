package ledger

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestOutcome(t *testing.T) {
	t.Parallel()
	var o, m Outcome
	o.Refuse("http_400", 1)
	o.Doubt("http_400", 2)
	o.Filter("relabelled", 4)
	o.Refuse("http_415", 0)
	o.Delivered = 8
	m.Refuse("http_400", 16)
	m.Refuse("too_large", 32)
	m.Delivered, m.DamagedBytes, m.LostStretches = 64, 1000, 1
	o.Merge(m)
	o.Merge(Outcome{Filtered: map[string]uint64{"age": 128}, Uncertain: map[string]uint64{"http_400": 256}})
	want := Outcome{
		Delivered: 72, DamagedBytes: 1000, LostStretches: 1,
		Refused:   map[string]uint64{"http_400": 17, "too_large": 32},
		Uncertain: map[string]uint64{"http_400": 258},
		Filtered:  map[string]uint64{"relabelled": 4, "age": 128},
	}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("%+v, expected %+v", o, want)
	}
	if got := o.Total(); got != 511 {
		t.Errorf("%d in total", got)
	}
	var none Outcome
	none.Merge(m)
	none.Refuse("http_400", 1)
	if m.Refused["http_400"] != 16 {
		t.Error("the merged one has changed")
	}
}

func TestTermsJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(Terms{
		Appended: 1, Delivered: 2, Evicted: 3, Lost: 4, NotAppended: 5, OnDisk: 6, DamagedBytes: 7, LostStretches: 8,
		Refused: map[string]uint64{"a": 9}, Filtered: map[string]uint64{"b": 10}, Uncertain: map[string]uint64{"c": 11},
	})
	const want = `{"appended":1,"delivered":2,"refused":{"a":9},"filtered":{"b":10},"uncertain":{"c":11},"evicted":3,"lost":4,"notAppended":5,"onDisk":6,"damagedBytes":7,"lostStretches":8}`
	if err != nil || string(b) != want {
		t.Errorf("%s, %v; expected %s", b, err, want)
	}
	var terms Terms
	if err := json.Unmarshal(b, &terms); err != nil || terms.Sum() != 2+9+10+11+3+4+6 {
		t.Errorf("sum %d, %v", terms.Sum(), err)
	}
}
