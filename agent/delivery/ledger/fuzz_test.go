package ledger

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// FuzzLoad reads a delivery.json that holds anything, as it is or with the checksum that
// fits: it is refused, or the book that is opened with it adds up from then on, and what
// is written of it reads the same.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(``), false)
	f.Add([]byte(`{"version":1,"checksum":"00000000","state":{}}`), false)
	f.Add([]byte(`{"version":2}`), false)
	f.Add([]byte(`{"generation":3,"written":1795819319800,"clean":true,"appended":30,"notAppended":2,"tail":{"generation":3,"segment":4,"offset":0},"destinations":{"one":{"url":"https://a/b","mark":{"generation":3,"segment":2,"offset":2022},"sent":{"generation":3,"segment":3,"offset":7},"born":4,"bornNotAppended":1,"goneSince":1795819319800,"goneFor":1,"ledger":{"appended":26,"delivered":10,"refused":{"http_400":3},"filtered":null,"uncertain":null,"evicted":2,"lost":1,"onDisk":10}}}}`), true)
	f.Add([]byte(`{"destinations":{"":{"born":18446744073709551615,"mark":{"generation":-1,"segment":-1,"offset":-1},"ledger":{"delivered":18446744073709551615,"evicted":9}}}}`), true)
	f.Fuzz(func(t *testing.T, content []byte, fits bool) {
		if fits {
			if !json.Valid(content) {
				return
			}
			var err error
			if content, err = json.Marshal(envelope{Version: stateVersion, Checksum: checksum(compact(content)), State: content}); err != nil {
				t.Fatal(err)
			}
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, stateFile), content, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := Load(dir)
		if file.Lost {
			if err == nil {
				t.Error("it is lost, and nothing is wrong")
			}
			return
		}
		if err != nil {
			t.Error("it is not lost, and", err)
		}
		book := NewBook(file.Generation+1, file.NotAppended)
		for name, saved := range file.Destinations {
			a := book.Open(name, saved, saved.Counting)
			book.Append(7, file.Generation+1)
			checkSum(t, name, a)
			if _, err := a.Evict(backlog.Position{Generation: file.Generation, Segment: 1}, func(from, to backlog.Position) (uint64, error) { return 3, nil }); err != nil {
				t.Error(err)
			}
			checkSum(t, name, a)
			a.Crossed(file.Generation + 1)
			checkSum(t, name, a)
		}
		book.Recovered(5)
		file.Destinations = book.Saved()
		if _, err := Write(dir, file); err != nil {
			t.Fatal(err)
		}
		again, err := Load(dir)
		if err != nil || again.Lost {
			t.Fatal("what was written cannot be read:", err)
		}
		for name, saved := range file.Destinations {
			if got := again.Destinations[name]; got.Terms.Sum() != saved.Terms.Sum() || got.Mark != saved.Mark || got.Sent != saved.Sent {
				t.Errorf("%s: written %+v, read %+v", name, saved, got)
			}
		}
	})
}

// compact is what json.Marshal makes of a raw message.
func compact(content []byte) []byte {
	b, _ := json.Marshal(json.RawMessage(content))
	return b
}

func checkSum(t *testing.T, name string, a *Account) {
	t.Helper()
	if terms := a.Terms(); terms.Appended != terms.Sum() {
		t.Errorf("%s: appended %d, accounted for %d: %+v", name, terms.Appended, terms.Sum(), terms)
	}
}
