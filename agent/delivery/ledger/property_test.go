package ledger

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// TestRandom makes long random sequences of all calls, over restarts, power cuts,
// failed commits and evictions, and compares the terms with the fate of each
// record after every call.
func TestRandom(t *testing.T) {
	t.Parallel()
	steps := 1500
	if testing.Short() {
		steps = 400
	}
	for seed := range uint64(16) {
		w := newWorld(t, seed)
		for range steps {
			w.step()
			w.check()
			if t.Failed() {
				t.Fatalf("seed %d, call %d", seed, w.calls)
			}
		}
		w.drain()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func (w *world) step() {
	w.calls++
	names := slices.Sorted(maps.Keys(w.clients))
	name := names[w.rnd.IntN(len(names))]
	c := w.clients[name]
	switch r := w.rnd.IntN(400); {
	case r < 120:
		w.commit()
	case r < 250:
		w.read(c)
	case r < 330:
		w.settle(c)
	case r < 345:
		w.forget(c)
	case r < 360:
		w.evict()
	case r < 370:
		w.cross(c, w.running-w.rnd.IntN(2))
	case r < 380:
		w.settleLate()
	case r < 384:
		n := uint64(w.rnd.IntN(10))
		w.book.NotAppended(n)
	case r < 388:
		c.a.MaySent(c.a.Read())
		c.sent = later(c.sent, c.a.Read())
	case w.depth > 0: // the rest excludes an eviction
	case r < 391:
		w.save()
	case r < 393:
		w.restart()
	case r < 397:
		w.rename(name)
	case r < 399 && len(names) < 4:
		w.born()
	case len(names) > 1:
		w.book.Remove(name)
		delete(w.clients, name)
	}
}

// check compares the book with the model.
func (w *world) check() {
	terms := w.book.Terms()
	saved := w.book.Saved()
	if len(terms) != len(w.clients) || len(saved) != len(w.clients) {
		w.t.Errorf("%d and %d accounts, expected %d", len(terms), len(saved), len(w.clients))
	}
	for name, c := range w.clients {
		got, s := c.a.Terms(), saved[name]
		if got.Sum() != got.Appended || s.Terms.Sum() != s.Terms.Appended {
			w.t.Errorf("%s: the sum is %d and %d saved, appended %d and %d", name, got.Sum(), s.Terms.Sum(), got.Appended, s.Terms.Appended)
		}
		if !reflect.DeepEqual(terms[name], got) {
			w.t.Errorf("%s: %+v in the book, %+v in the account", name, terms[name], got)
		}
		want := w.terms(c)
		want.NotAppended = got.NotAppended
		if !reflect.DeepEqual(got, want) {
			w.t.Errorf("%s: %+v, expected %+v", name, got, want)
		}
		w.checkMarks(name, c, s)
		var oldest int64
		for i, e := range w.log {
			if c.fates[i] == inMemory && e.n > 0 && (oldest == 0 || e.t < oldest) {
				oldest = e.t
			}
		}
		// The stretch that is settled in part may remember an older one.
		if got := c.a.OldestHeld(); got > oldest || (got == 0) != (oldest == 0) {
			w.t.Errorf("%s: the oldest in memory is said to be of %d, and is of %d", name, got, oldest)
		}
		if c.a.Counting() != c.counting {
			w.t.Errorf("%s: counting: %v, expected %v", name, c.a.Counting(), c.counting)
		}
	}
}

// checkMarks: everything before a mark is settled, and what is settled at the
// front is before it.
func (w *world) checkMarks(name string, c *client, s Saved) {
	mark := c.a.Mark()
	for i, e := range w.log {
		switch f := c.fates[i]; {
		case e.n == 0, f != inMemory && f != claimed && (f != unread || !e.onDisk):
		case e.end.Compare(mark) <= 0:
			w.t.Errorf("%s: record at %s is %d before the mark %s", name, e.from, f, mark)
		case e.end.Compare(s.Mark) <= 0 && (f != inMemory || e.end.Compare(c.evicted) >= 0):
			w.t.Errorf("%s: record at %s is %d before the saved mark %s", name, e.from, f, s.Mark)
		}
	}
	if c.a.Evicted() != c.evicted || c.a.Sent() != c.sent || s.Sent != c.sent {
		w.t.Errorf("%s: evicted up to %s, sent up to %s, saved %s; expected %s, %s", name, c.a.Evicted(), c.a.Sent(), s.Sent, c.evicted, c.sent)
	}
	if w.depth == 0 && c.a.Read().Compare(mark) < 0 {
		w.t.Errorf("%s: read up to %s, the mark is %s", name, c.a.Read(), mark)
	}
}

// save writes what is known, as it is done when no commit is going on.
func (w *world) save() {
	w.settleLate()
	// What is not counted is left out of the file; see TestSavedWhileCounting.
	w.recover()
	for _, c := range w.clients {
		c.recover(w)
	}
	_, notAppended := w.book.Totals()
	dir := w.t.TempDir()
	f := File{Generation: w.running, Tail: w.end(), NotAppended: notAppended, Destinations: w.book.Saved()}
	if _, err := Write(dir, f); err != nil {
		w.t.Fatal(err)
	}
	var err error
	if w.file, err = Load(dir); err != nil || w.file.Lost {
		w.t.Fatal(err)
	}
	w.saved = map[string]*client{}
	for name, c := range w.clients {
		got, want := w.file.Destinations[name], f.Destinations[name]
		got.origin = nil
		if !reflect.DeepEqual(got, want) {
			w.t.Errorf("%s: wrote %+v, read %+v", name, want, got)
		}
		kept := c.clone()
		kept.unexplained += max(0, -w.left(c)) // in the file, it is appended
		w.saved[name] = kept
	}
	w.tail = len(w.log)
}

// restart goes on from the file, after what may have been a power cut.
func (w *world) restart() {
	if w.rnd.IntN(2) == 0 {
		w.save()
	}
	for i := len(w.log) - w.rnd.IntN(8); i < len(w.log); i++ {
		if w.rnd.IntN(2) == 0 && i >= 0 && w.log[i].end.Generation == w.running {
			for ; i < len(w.log); i++ {
				w.log[i].onDisk = false
			}
		}
	}
	w.late = nil
	w.running += 1 + w.rnd.IntN(2)
	w.book = NewBook(w.running, w.file.NotAppended)
	w.clients = w.saved
	counting := w.rnd.IntN(3) > 0
	counted := counting && w.rnd.IntN(4) == 0
	if counted {
		w.recover()
	}
	for name, c := range w.clients {
		s := w.file.Destinations[name]
		c.a = w.book.Open(name, s, counting)
		c.counting = counting
		for len(c.fates) < len(w.log) {
			c.grow(unread, false)
		}
		c.forget(w)
		c.evicted = backlog.Position{}
		if counted {
			c.recover(w)
		}
		c.rewind(w)
	}
	if counting && !counted && w.rnd.IntN(3) > 0 {
		for range w.rnd.IntN(40) {
			w.depth++ // no second restart
			w.step()
			w.check()
			w.depth--
		}
		w.recover()
		for _, c := range w.clients {
			c.recover(w)
		}
	}
	w.saved, w.tail = nil, 0
	w.save()
}

// recovered is what was appended after the file was written, and is on disk.
func (w *world) recovered() (n uint64) {
	for _, e := range w.log[min(w.tail, len(w.log)):] {
		if e.onDisk && e.end.Generation < w.running {
			n += e.n
		}
	}
	return n
}

func (w *world) recover() { w.book.Recovered(w.recovered()) }

func (c *client) recover(w *world) {
	if c.counting {
		c.unexplained += int64(w.recovered())
	}
	c.counting = false
}

// rename removes a destination and opens it again, while commits go on.
func (w *world) rename(name string) {
	c := w.clients[name]
	s := w.book.Remove(name)
	c.forget(w)
	if !reflect.DeepEqual(s.Terms, w.terms(c)) && s.Terms.NotAppended == 0 {
		w.t.Errorf("%s: removed with %+v, expected %+v", name, s.Terms, w.terms(c))
	}
	for range w.rnd.IntN(4) {
		w.commit()
	}
	w.book.NotAppended(3)
	c.a = w.book.Open(name, s, w.rnd.IntN(2) == 0)
	c.evicted = backlog.Position{}
	if got := c.a.Terms().NotAppended; got != s.Terms.NotAppended+3 {
		w.t.Errorf("%s: %d not appended, expected %d", name, got, s.Terms.NotAppended+3)
	}
	c.rewind(w)
}

// drain reads everything: then nothing is unread, and every record on disk has
// come to an end.
func (w *world) drain() {
	w.settleLate()
	for name, c := range w.clients {
		for c.next < len(w.log) {
			w.read(c)
			w.settle(c)
		}
		for slices.Contains(c.fates, inMemory) {
			w.settle(c)
		}
		c.a.Settle(w.end(), Outcome{})
		left, before := w.left(c), c.a.Terms()
		if residue := c.a.Drained(w.end()); residue != left {
			w.t.Errorf("%s: %d samples remained, expected %d", name, residue, left)
		}
		got := c.a.Terms()
		if got.Sum() != got.Appended || got.OnDisk != 0 || len(c.a.unread) != 0 || got.Lost < before.Lost+uint64(max(0, left)) {
			w.t.Errorf("%s: %+v at the end, and before %+v", name, got, before)
		}
		if got.Delivered != before.Delivered || got.Evicted != before.Evicted {
			w.t.Errorf("%s: %+v at the end, and before %+v", name, got, before)
		}
		for i, e := range w.log {
			if e.onDisk && (c.fates[i] == unread || c.fates[i] == inMemory) {
				w.t.Errorf("%s: record at %s is %d at the end", name, e.from, c.fates[i])
			}
		}
	}
}
