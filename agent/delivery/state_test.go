package delivery

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// TestLoadDamaged: whichever byte is damaged, or wherever the file is cut, the
// marks are either what they were, or known to be lost.
func TestLoadDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if s, err := Load(dir); err != nil || !s.Lost {
		t.Fatalf("without a file: %+v, %v", s, err)
	}
	ledger := Ledger{Delivered: 90}
	add(&ledger.Refused, "http_400", 10)
	mark := backlog.Position{Generation: 3, Segment: 7, Offset: 4711}
	want := Saved{
		Generation: 3, Clean: true, Appended: 100, Tail: mark,
		Destinations: map[string]SavedDestination{"one": {URL: "https://example.org/", Mark: mark, Sent: mark, Ledger: ledger}},
	}
	if err := save(dir, want); err != nil {
		t.Fatal(err)
	}
	intact, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want.Written = intact.Written; want.Written == 0 || !reflect.DeepEqual(intact, want) {
		t.Fatalf("saved %+v, loaded %+v", want, intact)
	}
	path := filepath.Join(dir, stateFile)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, at int, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Load(dir)
		if s.Lost != (err != nil) || !s.Lost && !reflect.DeepEqual(s, want) {
			t.Errorf("%s at %d: %+v, %v", what, at, s, err)
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
}
