package ledger

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// example has two destinations, one of which began later.
func example() File {
	elder := Terms{Appended: 100, Delivered: 70, Evicted: 5, Lost: 3, OnDisk: 12, NotAppended: 9, DamagedBytes: 4096, LostStretches: 1}
	add(&elder.Refused, "http_400", 4)
	add(&elder.Refused, "out_of_order", 1)
	add(&elder.Filtered, "relabelled", 3)
	add(&elder.Uncertain, "series_lost", 2)
	return File{
		Generation: 3, Clean: true, NotAppended: 11, Tail: pos(3, 9, 100),
		Destinations: map[string]Saved{
			"elder":   {URL: "https://example.org/", Mark: pos(3, 7, 4711), Sent: pos(3, 8, 0), Unordered: pos(3, 7, 4800), Asked: Asked{Before: pos(3, 7, 4850), Series: []uint64{3, math.MaxUint64}}, Late: Late{UpTo: 1234, Before: pos(3, 7, 4900), Unordered: true}, StoresPartial: "1.0", Refused: pos(3, 7, 4950), Terms: elder},
			"younger": {URL: "https://example.com/", Mark: pos(3, 9, 0), Terms: Terms{Appended: 10, OnDisk: 10}},
		},
	}
}

// withoutOrigin is what a caller sees of a file.
func withoutOrigin(f File) File {
	d := make(map[string]Saved, len(f.Destinations))
	for name, s := range f.Destinations {
		s.origin = nil
		d[name] = s
	}
	f.Destinations = d
	return f
}

// TestLoadDamaged: whichever byte is damaged, or wherever the file is cut, the
// marks are either what they were, or known to be lost.
func TestLoadDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if f, err := Load(dir); err != nil || !f.Lost {
		t.Fatalf("without a file: %+v, %v", f, err)
	}
	want := example()
	if _, err := Write(dir, want); err != nil {
		t.Fatal(err)
	}
	intact, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want.Written = intact.Written; want.Written == 0 || !reflect.DeepEqual(withoutOrigin(intact), want) {
		t.Fatalf("wrote %+v, loaded %+v", want, intact)
	}
	path := filepath.Join(dir, stateFile)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	check := func(what string, at int, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Load(dir)
		if f.Lost != (err != nil) || !f.Lost && !reflect.DeepEqual(withoutOrigin(f), want) {
			t.Errorf("%s at %d: %+v, %v", what, at, f, err)
		}
		if f.Lost {
			lost++
		}
	}
	for i := range content {
		for _, mask := range []byte{0x01, 0x20, 0xff} {
			b := append([]byte(nil), content...)
			b[i] ^= mask
			check("flipped", i, b)
		}
		check("cut", i, content[:i])
	}
	if lost < 4*len(content)*9/10 {
		t.Errorf("%d of %d damages were noticed", lost, 4*len(content))
	}
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ content, want string }{
		{``, "delivery.json is damaged: unexpected end of JSON input"},
		{`{"version":2}`, "delivery.json has version 2, this program knows 1"},
		{`{"version":1,"checksum":"00000000","state":{}}`, "delivery.json is damaged: checksum 297bd0aa, expected 00000000"},
		{`{"version":1,"checksum":"` + checksum([]byte(`{"generation":"x"}`)) + `","state":{"generation":"x"}}`, "delivery.json is damaged: json: cannot unmarshal"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Load(dir)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v", c.content, err)
		}
		if !reflect.DeepEqual(f, File{Lost: true}) {
			t.Errorf("%s: %+v", c.content, f)
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, stateFile), 0o750); err != nil {
		t.Fatal(err)
	}
	if f, err := Load(dir); err == nil || !f.Lost {
		t.Errorf("a directory: %+v, %v", f, err)
	}
	piped := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(piped, stateFile), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded := make(chan error, 1)
	go func() { _, err := Load(piped); loaded <- err }()
	select {
	case err := <-loaded:
		if err == nil {
			t.Error("a pipe was taken for marks")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for somebody to write to a pipe")
	}
	if _, err := Write(piped, File{Generation: 3}); err != nil {
		t.Errorf("written in the place of a pipe: %v", err)
	}
	if f, err := Load(piped); err != nil || f.Generation != 3 {
		t.Errorf("in the place of a pipe: %+v, %v", f, err)
	}
	if _, err := Write(filepath.Join(dir, "none"), File{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("written where there is no directory: %v", err)
	}
}

// What version 0.1.0 wrote.
const (
	// A clean stop, with one destination that began late.
	cleanFile010 = `{"version":1,"checksum":"3dcc7b92","state":{"generation":7,"written":1795747359668,"clean":true,"appended":100000,"notAppended":30,"tail":{"generation":7,"segment":12,"offset":345678},"destinations":{"opstrace-default":{"url":"https://cortex.default.testcluster.opstrace.io/api/v1/push","mark":{"generation":7,"segment":10,"offset":4711},"sent":{"generation":7,"segment":10,"offset":9000},"born":0,"bornNotAppended":0,"ledger":{"appended":0,"delivered":90000,"refused":{"http_400":10,"out_of_bounds":5},"filtered":{"relabelled":1000},"uncertain":{"http_400":85},"evicted":700,"notAppended":0,"onDisk":0,"damagedBytes":4096,"lostStretches":1}},"young":{"url":"http://xxxxx:xxxxx@example.org/push?token=xxxxx","mark":{"generation":7,"segment":12,"offset":345678},"sent":{"generation":7,"segment":12,"offset":345678},"born":99990,"bornNotAppended":30,"ledger":{"appended":0,"delivered":10,"refused":null,"filtered":null,"uncertain":null,"evicted":0,"notAppended":0,"onDisk":0,"damagedBytes":0,"lostStretches":0}}}}}`
	// A crash; what was evicted while it was being read had been counted twice.
	crashFile010 = `{"version":1,"checksum":"fd90f5ba","state":{"generation":3,"written":1795747359671,"clean":false,"appended":500,"notAppended":0,"tail":{"generation":3,"segment":1,"offset":100},"destinations":{"one":{"url":"http://localhost/","mark":{"generation":3,"segment":1,"offset":50},"sent":{"generation":0,"segment":0,"offset":0},"born":0,"bornNotAppended":0,"ledger":{"appended":0,"delivered":400,"refused":null,"filtered":null,"uncertain":null,"evicted":150,"notAppended":0,"onDisk":0,"damagedBytes":0,"lostStretches":0}}}}}`
	// No destinations.
	emptyFile010 = `{"version":1,"checksum":"676b3811","state":{"generation":2,"written":1795747359673,"clean":false,"appended":12,"notAppended":0,"tail":{"generation":2,"segment":1,"offset":100},"destinations":{}}}`
)

func TestLoad010(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		content string
		want    File
	}{
		"clean": {cleanFile010, File{
			Generation: 7, Written: 1795747359668, Clean: true, NotAppended: 30, Tail: pos(7, 12, 345678),
			Destinations: map[string]Saved{
				"opstrace-default": {
					URL: "https://cortex.default.testcluster.opstrace.io/api/v1/push", Mark: pos(7, 10, 4711), Sent: pos(7, 10, 9000),
					Terms: Terms{
						Appended: 100000, Delivered: 90000, Evicted: 700, OnDisk: 8200, NotAppended: 30, DamagedBytes: 4096, LostStretches: 1,
						Refused:   map[string]uint64{"http_400": 10, "out_of_bounds": 5},
						Filtered:  map[string]uint64{"relabelled": 1000},
						Uncertain: map[string]uint64{"http_400": 85},
					},
				},
				"young": {
					URL: "http://xxxxx:xxxxx@example.org/push?token=xxxxx", Mark: pos(7, 12, 345678), Sent: pos(7, 12, 345678),
					Terms: Terms{Appended: 10, Delivered: 10},
				},
			},
		}},
		"crash": {crashFile010, File{
			Generation: 3, Written: 1795747359671, Tail: pos(3, 1, 100),
			Destinations: map[string]Saved{
				"one": {URL: "http://localhost/", Mark: pos(3, 1, 50), Terms: Terms{Appended: 550, Delivered: 400, Evicted: 150}},
			},
		}},
		"empty": {emptyFile010, File{Generation: 2, Written: 1795747359673, Tail: pos(2, 1, 100), Destinations: map[string]Saved{}}},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Load(dir)
		if err != nil || !reflect.DeepEqual(withoutOrigin(got), c.want) {
			t.Errorf("%s: %+v, %v; expected %+v", name, got, err, c.want)
		}
		b := NewBook(got.Generation+1, got.NotAppended)
		for name, s := range got.Destinations {
			if a := b.Open(name, s, false); !reflect.DeepEqual(a.Terms(), s.Terms) || a.Terms().Sum() != a.Terms().Appended {
				t.Errorf("%s: opened with %+v, loaded %+v", name, a.Terms(), s.Terms)
			}
		}
		if _, notAppended := b.Totals(); notAppended != got.NotAppended {
			t.Errorf("%s: %d not appended", name, notAppended)
		}
	}
}

// The definitions of version 0.1.0.
type (
	saved010 struct {
		Generation   int                            `json:"generation"`
		Written      int64                          `json:"written"`
		Clean        bool                           `json:"clean"`
		Appended     uint64                         `json:"appended"`
		NotAppended  uint64                         `json:"notAppended"`
		Tail         backlog.Position               `json:"tail"`
		Destinations map[string]savedDestination010 `json:"destinations"`
	}
	savedDestination010 struct {
		URL             string           `json:"url"`
		Mark            backlog.Position `json:"mark"`
		Sent            backlog.Position `json:"sent"`
		Born            uint64           `json:"born"`
		BornNotAppended uint64           `json:"bornNotAppended"`
		Ledger          ledger010        `json:"ledger"`
	}
	ledger010 struct {
		Appended      uint64            `json:"appended"`
		Delivered     uint64            `json:"delivered"`
		Refused       map[string]uint64 `json:"refused"`
		Filtered      map[string]uint64 `json:"filtered"`
		Uncertain     map[string]uint64 `json:"uncertain"`
		Evicted       uint64            `json:"evicted"`
		NotAppended   uint64            `json:"notAppended"`
		OnDisk        uint64            `json:"onDisk"`
		DamagedBytes  uint64            `json:"damagedBytes"`
		LostStretches uint64            `json:"lostStretches"`
	}
	envelope010 struct {
		Version  int             `json:"version"`
		Checksum string          `json:"checksum"`
		State    json.RawMessage `json:"state"`
	}
)

// TestReadableBy010: who goes back to 0.1.0 finds the same numbers.
func TestReadableBy010(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := example()
	if _, err := Write(dir, f); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	var env envelope010
	if err := json.Unmarshal(b, &env); err != nil || env.Version != 1 || env.Checksum != checksum(env.State) {
		t.Fatalf("%+v, %v", env, err)
	}
	var s saved010
	if err := json.Unmarshal(env.State, &s); err != nil {
		t.Fatal(err)
	}
	if s.Generation != f.Generation || s.Clean != f.Clean || s.Tail != f.Tail || s.Written == 0 || s.NotAppended != f.NotAppended {
		t.Errorf("%+v, wrote %+v", s, f)
	}
	if len(s.Destinations) != len(f.Destinations) {
		t.Errorf("%d destinations", len(s.Destinations))
	}
	for name, want := range f.Destinations {
		d := s.Destinations[name]
		// As 0.1.0 reckons in its status.
		got := d.Ledger
		got.Appended = s.Appended - d.Born
		got.NotAppended = s.NotAppended - d.BornNotAppended
		w := want.Terms
		if (got.Appended != w.Appended) || got.NotAppended != w.NotAppended || got.Delivered != w.Delivered || got.Evicted != w.Evicted ||
			got.DamagedBytes != w.DamagedBytes || got.LostStretches != w.LostStretches || got.OnDisk != w.OnDisk ||
			!reflect.DeepEqual(got.Refused, w.Refused) || !reflect.DeepEqual(got.Filtered, w.Filtered) || !reflect.DeepEqual(got.Uncertain, w.Uncertain) {
			t.Errorf("%s: 0.1.0 finds %+v, wrote %+v", name, got, w)
		}
		if d.URL != want.URL || d.Mark != want.Mark || d.Sent != want.Sent {
			t.Errorf("%s: %+v, wrote %+v", name, d, want)
		}
	}
}

// TestOpenLoadedLate: what was loaded at the start is opened by a later reload,
// and has missed nothing.
func TestOpenLoadedLate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Write(dir, example()); err != nil {
		t.Fatal(err)
	}
	f, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		counting bool
		appended uint64
	}{{true, 113}, {false, 106}} {
		b := NewBook(running, f.NotAppended)
		b.Append(6, running)
		b.NotAppended(2)
		a := b.Open("elder", f.Destinations["elder"], c.counting)
		b.Recovered(7)
		got := a.Terms()
		if got.Appended != c.appended || got.Sum() != c.appended || got.NotAppended != 11 {
			t.Errorf("%+v, expected %d", got, c.appended)
		}
		a.Crossed(running)
		if got := a.Terms(); got.OnDisk != 6 || got.Sum() != c.appended {
			t.Errorf("%+v", got)
		}
	}
}

// TestWriteMade: the totals of a file are never below those of a destination,
// whatever the caller says, or the difference would be huge.
func TestWriteMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := example()
	f.NotAppended = 0
	if _, err := Write(dir, f); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err != nil || got.NotAppended != 9 || got.Destinations["elder"].Terms.NotAppended != 9 || got.Destinations["younger"].Terms.NotAppended != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}
