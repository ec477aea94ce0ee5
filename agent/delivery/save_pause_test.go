package delivery

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

func TestSaveTrouble(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	begin := time.Now()
	for name, tc := range map[string]struct {
		answers []error // of writes, a second apart, the last at begin
		passed  time.Duration
		want    bool
	}{
		"never written":           {nil, 0, true},
		"written":                 {[]error{nil}, 0, true},
		"failed just now":         {[]error{nil, syscall.ENOSPC}, 0, false},
		"failed a moment ago":     {[]error{syscall.ENOSPC}, 999 * ms, false},
		"failed a while ago":      {[]error{syscall.ENOSPC}, 1000 * ms, true},
		"failed again":            {[]error{syscall.ENOSPC, syscall.EROFS}, 500 * ms, false},
		"written after it failed": {[]error{syscall.ENOSPC, nil}, 0, true},
	} {
		var trouble saveTrouble
		for i, err := range tc.answers {
			trouble.did(begin.Add(time.Duration(i+1-len(tc.answers))*time.Second), err)
		}
		if got := trouble.due(begin.Add(tc.passed)); got != tc.want {
			t.Errorf("%s: due is %t", name, got)
		}
	}
}

// TestSaveIsNotTriedAtEachQuestion: a destination that cannot have delivery.json written
// goes on without, tries again after a pause only, and is not kept from it once it was.
func TestSaveIsNotTriedAtEachQuestion(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.SaveInterval = time.Hour // none but those of this test
	r.open()
	r.awaitState("one", Live)
	m := r.delivery.marks
	locked := func(f func()) {
		m.mtx.Lock()
		defer m.mtx.Unlock()
		f()
	}
	// what save leaves to be written, which is another one after each attempt that failed
	save := func() (left *ledger.File) {
		t.Helper()
		if err := m.save(t.Context()); err != nil {
			t.Error(err)
		}
		locked(func() { left = m.unwritten })
		return left
	}
	locked(func() { m.dir = filepath.Join(r.dir, "missing") })
	first := save()
	if first == nil {
		t.Fatal("it was written to a directory that is missing")
	}
	locked(func() { m.trouble.failed = m.trouble.failed.Add(time.Hour) }) // however slow this test is
	if save() != first {
		t.Error("it was tried again at once")
	}
	locked(func() { m.trouble.failed = time.Now().Add(-savePause) })
	if again := save(); again == nil || again == first {
		t.Error("it was not tried again after a pause")
	}
	locked(func() { m.dir, m.trouble.failed = r.dir, time.Now().Add(time.Hour) })
	// What is written at the regular time ends it.
	if err := m.saveAndRelease(false); err != nil {
		t.Fatal(err)
	}
	locked(func() {
		if !m.trouble.due(time.Now()) || m.unwritten != nil {
			t.Errorf("it is not over: %+v, %+v", m.trouble, m.unwritten)
		}
	})
}
