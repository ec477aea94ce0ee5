package ledger

import (
	"reflect"
	"slices"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

func pos(generation, segment int, offset int64) backlog.Position {
	return backlog.Position{Generation: generation, Segment: segment, Offset: offset}
}

// running is the generation of the accounts in these tests.
const running = 5

// newAccount is one that begins at the WAL's beginning.
func newAccount() (*Book, *Account) {
	b := NewBook(running, 0)
	return b, b.Open("one", Saved{URL: "http://localhost/", Mark: pos(running, 1, 0)}, false)
}

// old is an account with n samples on disk in older generations.
func old(n uint64, counting bool) (*Book, *Account) {
	b := NewBook(running, 0)
	return b, b.Open("one", Saved{Mark: pos(2, 1, 0), Terms: Terms{Appended: n, OnDisk: n}}, counting)
}

func counts(n uint64) func(from, to backlog.Position) (uint64, error) {
	return func(backlog.Position, backlog.Position) (uint64, error) { return n, nil }
}

// TestAccount: what each call does to the terms, above all when something goes
// wrong meanwhile.
func TestAccount(t *testing.T) {
	t.Parallel()
	for name, c := range accountCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.open == nil {
				c.open = newAccount
			}
			if c.saved == nil {
				c.saved, c.savedMark = &c.want, c.mark
			}
			b, a := c.open()
			c.calls(t, b, a)
			if got := a.Terms(); !reflect.DeepEqual(got, c.want) || got.Sum() != got.Appended {
				t.Errorf("%+v, sum %d; expected %+v", got, got.Sum(), c.want)
			}
			if got := a.Mark(); got != c.mark {
				t.Errorf("the mark is %s, expected %s", got, c.mark)
			}
			s := b.Saved()["one"]
			if !reflect.DeepEqual(s.Terms, *c.saved) || s.Terms.Sum() != s.Terms.Appended || s.Mark != c.savedMark {
				t.Errorf("saved %+v at %s, expected %+v at %s", s.Terms, s.Mark, *c.saved, c.savedMark)
			}
		})
	}
}

func hold(t *testing.T, a *Account, from, end backlog.Position, n uint64) {
	t.Helper()
	if !a.Hold(from, end, n, 1) {
		t.Errorf("record at %s cannot be held", from)
	}
	if got := a.Read(); got.Compare(end) < 0 {
		t.Errorf("read up to %s, expected %s", got, end)
	}
}

func evict(t *testing.T, a *Account, to backlog.Position, n uint64) {
	t.Helper()
	if got, err := a.Evict(to, counts(n)); got != n || err != nil {
		t.Errorf("evicted %d, %v; expected %d", got, err, n)
	}
	if a.Evicted() != to || a.Read().Compare(to) < 0 {
		t.Errorf("evicted up to %s, read up to %s; expected %s", a.Evicted(), a.Read(), to)
	}
}

func drained(t *testing.T, a *Account, at backlog.Position, want int64) {
	t.Helper()
	if got := a.Drained(at); got != want {
		t.Errorf("%d remained at %s, expected %d", got, at, want)
	}
}

// TestEvictClaims: everything that is not read is counted, once, and cut where
// the generations are known apart.
func TestEvictClaims(t *testing.T) {
	t.Parallel()
	b, a := old(100, false)
	b.Append(1, running)
	b.Append(1, running+1)
	var got [][2]backlog.Position
	note := func(from, to backlog.Position) (uint64, error) {
		got = append(got, [2]backlog.Position{from, to})
		return 10, nil
	}
	for _, to := range []backlog.Position{
		pos(2, 3, 0), pos(2, 1, 0), pos(2, 4, 500), pos(running, 0, 0), pos(running+2, 1, 0),
	} {
		if _, err := a.Evict(to, note); err != nil {
			t.Fatal(err)
		}
	}
	want := [][2]backlog.Position{
		{pos(2, 1, 0), pos(2, 3, 0)},
		{pos(2, 3, 0), pos(2, 4, 0)}, // whole segments
		{pos(2, 4, 0), pos(running, 0, 0)},
		{pos(running, 0, 0), pos(running+1, 0, 0)},
		{pos(running+1, 0, 0), pos(running+2, 0, 0)},
		{pos(running+2, 0, 0), pos(running+2, 1, 0)},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("counted %v, expected %v", got, want)
	}
	if terms := a.Terms(); terms.Evicted != 60 || terms.Sum() != terms.Appended {
		t.Errorf("%+v", terms)
	}
}

// TestMarkWhileEvicting: as long as an eviction is being counted, its files are
// there, and a crash must find the mark before them.
func TestMarkWhileEvicting(t *testing.T) {
	t.Parallel()
	b, a := newAccount()
	b.Append(30, running)
	hold(t, a, pos(5, 1, 0), pos(5, 1, 100), 6)
	check := func(mark, savedMark backlog.Position, evicted uint64) {
		t.Helper()
		s := b.Saved()["one"]
		if a.Mark() != mark || s.Mark != savedMark || s.Terms.Evicted != evicted || s.Terms.Sum() != 30 {
			t.Errorf("mark %s, saved %s with %+v; expected %s, %s, %d", a.Mark(), s.Mark, s.Terms, mark, savedMark, evicted)
		}
	}
	_, err := a.Evict(pos(5, 3, 0), func(backlog.Position, backlog.Position) (uint64, error) {
		check(pos(5, 1, 0), pos(5, 1, 0), 0)
		// Another one begins later and is done earlier.
		if _, err := a.Evict(pos(5, 4, 0), counts(5)); err != nil {
			t.Error(err)
		}
		check(pos(5, 1, 0), pos(5, 1, 0), 5)
		a.Forget()
		check(pos(5, 1, 100), pos(5, 1, 100), 5+6)
		if a.Hold(pos(5, 1, 100), pos(5, 2, 100), 9, 1) {
			t.Error("held what is being evicted")
		}
		// What is claimed is not claimed again, although Forget went back before it.
		if _, err := a.Evict(pos(5, 5, 0), func(from, _ backlog.Position) (uint64, error) {
			if from != pos(5, 4, 0) {
				t.Errorf("counted from %s on", from)
			}
			return 1, nil
		}); err != nil {
			t.Error(err)
		}
		hold(t, a, pos(5, 4, 100), pos(5, 5, 100), 2)
		return 9, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	check(pos(5, 5, 0), pos(5, 5, 0), 5+6+1+9)
}

func TestOldestHeld(t *testing.T) {
	t.Parallel()
	_, a := newAccount()
	check := func(want int64) {
		t.Helper()
		if got := a.OldestHeld(); got != want {
			t.Errorf("the oldest is of %d, expected %d", got, want)
		}
	}
	check(0)
	a.Hold(pos(5, 1, 0), pos(5, 1, 10), 600, 1700)
	a.Hold(pos(5, 1, 10), pos(5, 1, 20), 400, 1600) // in one stretch with the first
	a.Hold(pos(5, 1, 20), pos(5, 1, 30), 1, 1800)
	a.Hold(pos(5, 1, 30), pos(5, 2, 10), 1, 1900)
	a.Hold(pos(5, 2, 10), pos(5, 2, 20), 0, 1) // exemplars
	check(1600)
	a.Settle(pos(5, 1, 10), Outcome{Delivered: 600})
	check(1600)
	a.Settle(pos(5, 1, 20), Outcome{Delivered: 400})
	check(1800)
	a.Settle(pos(5, 1, 30), Outcome{Delivered: 1})
	check(1900)
	a.Forget()
	check(0)
}

// TestOldestHeldMoves: with few samples in a record and always some on their way, what
// was settled long ago is not said to wait.
func TestOldestHeldMoves(t *testing.T) {
	t.Parallel()
	_, a := newAccount()
	for i := int64(1); i <= 100; i++ {
		a.Hold(pos(5, 1, 10*(i-1)), pos(5, 1, 10*i), 10, i)
		if i > 5 {
			a.Settle(pos(5, 1, 10*(i-5)), Outcome{Delivered: 10})
		}
		if got := a.OldestHeld(); i > 20 && got < i-10 {
			t.Fatalf("of %d to %d, the oldest is of %d", i-4, i, got)
		}
	}
}

func TestSent(t *testing.T) {
	t.Parallel()
	b, a := newAccount()
	for _, p := range []backlog.Position{pos(5, 1, 50), pos(5, 1, 20)} {
		a.MaySent(p)
		if got := b.Saved()["one"].Sent; a.Sent() != pos(5, 1, 50) || got != a.Sent() {
			t.Errorf("sent up to %s, saved %s", a.Sent(), got)
		}
	}
}

// TestUnordered: what was sent in another order stays known until it is settled, and
// written while it is said again and again; who says it is told to write it first as long
// as the file does not have it for sure.
func TestUnordered(t *testing.T) {
	t.Parallel()
	b, a := newAccount()
	batch := func(n int64) backlog.Position { return pos(running, 1, n) }
	say := func(n int64, want bool) {
		t.Helper()
		if told := a.MaySendUnordered(batch(n)); told != want {
			t.Errorf("batch %d: told is %t", n, told)
		}
	}
	write := func(want backlog.Position) {
		t.Helper()
		saved := b.Saved()
		if got := saved["one"].Unordered; got != want {
			t.Errorf("saved %s, expected %s", got, want)
		}
		b.Written(saved)
	}
	none := backlog.Position{}
	write(none)
	say(100, false)
	say(100, false) // it could not be written
	write(batch(100))
	say(100, true)
	write(batch(100))
	a.Settle(batch(100), Outcome{})
	write(none) // said before the last one only
	say(200, false)
	write(batch(200))
	a.Settle(batch(200), Outcome{})
	say(300, true) // without a write of its own
	a.Settle(batch(300), Outcome{})
	write(batch(300)) // it may be so again any moment
	say(400, true)
	a.Settle(batch(400), Outcome{})
	write(batch(400))
	saved := b.Saved() // lacks it, and is being written
	if got := saved["one"].Unordered; got != none {
		t.Errorf("saved %s for nothing", got)
	}
	say(500, false)
	b.Written(saved)
	say(500, false)
	write(batch(500))
	saved = b.Saved()
	say(500, true) // whether that is written or not
	// Under another configuration, and after a stop.
	for name, s := range map[string]Saved{"removed": b.Remove("one"), "loaded": saved["one"]} {
		if again := b.Open(name, s, false); again.Unordered() != batch(500) || again.MaySendUnordered(batch(500)) {
			t.Errorf("%s: unordered up to %s, or taken for written", name, again.Unordered())
		}
	}
}

// TestWasRefused: up to where samples were refused stays known until it is settled, who says
// it is told to write it first as long as the file does not have it for sure, and who says it
// again and again need not, as the file has all of the run.
func TestWasRefused(t *testing.T) {
	t.Parallel()
	b, a := newAccount()
	batch := func(n int64) backlog.Position { return pos(running, 1, n) }
	say := func(n int64, want bool) {
		t.Helper()
		if told := a.WasRefused(batch(n)); told != want {
			t.Errorf("batch %d: told is %t", n, told)
		}
	}
	save := func(want backlog.Position) map[string]Saved {
		t.Helper()
		saved := b.Saved()
		if got := saved["one"].Refused; got != want {
			t.Errorf("saved %s, expected %s", got, want)
		}
		return saved
	}
	none, all := backlog.Position{}, pos(running+1, 0, 0)
	b.Written(save(none))
	say(100, false)
	say(100, false) // it could not be written
	b.Written(save(batch(100)))
	say(50, true)
	a.Settle(batch(100), Outcome{})
	b.Written(save(batch(100))) // said since, which costs nothing
	b.Written(save(none))
	say(200, false) // once in a while
	saved := save(batch(200))
	say(300, false) // which that lacks
	b.Written(saved)
	say(300, false)
	b.Written(save(all))
	say(400, true)
	if again := b.Open("one", b.Remove("one"), false); again.Refused() != batch(400) || again.WasRefused(batch(400)) {
		t.Errorf("under another configuration, refused up to %s, or taken for written", again.Refused())
	} else {
		a = again
	}
	b.Written(save(batch(400)))
	a.Settle(batch(400), Outcome{})
	say(500, false) // behind what is settled, as of a drainer
	b.Written(save(all))
	say(600, true)
	a.Settle(batch(600), Outcome{})
	b.Written(save(all)) // it may be so again any moment
	saved = save(none)   // and is being written
	say(700, false)
	b.Written(saved)
	say(700, false)
	if again := b.Open("another", save(batch(700))["one"], false); again.Refused() != batch(700) || again.WasRefused(batch(700)) {
		t.Errorf("after a stop, refused up to %s, or taken for written", again.Refused())
	}
}

// TestMayAsk: which series were asked about stays known until all is settled, who asks is
// told to write it first as long as the file does not have it for sure, and with too many
// all is in no order.
func TestMayAsk(t *testing.T) {
	t.Parallel()
	b, a := newAccount()
	batch := func(n int64) backlog.Position { return pos(running, 1, n) }
	say := func(series uint64, n int64, told bool, want ...uint64) {
		t.Helper()
		got := a.MayAsk(series, batch(n))
		if asked := a.Asked(); got != told || asked.Before != batch(n) || !slices.Equal(asked.Series, want) {
			t.Errorf("series %d, batch %d: told is %t, %+v", series, n, got, asked)
		}
	}
	write := func(want ...uint64) {
		t.Helper()
		saved := b.Saved()
		if got := saved["one"].Asked; !slices.Equal(got.Series, want) {
			t.Errorf("saved %+v", got)
		}
		b.Written(saved)
	}
	write()
	say(7, 100, false, 7)
	say(7, 100, false, 7) // it could not be written
	write(7)
	say(7, 100, true, 7)
	say(5, 200, false, 5, 7)
	saved := b.Saved()
	say(5, 200, false, 5, 7)
	say(6, 200, false, 5, 6, 7)
	b.Written(saved) // lacks the last one
	say(5, 200, true, 5, 6, 7)
	say(6, 200, false, 5, 6, 7)
	a.Settle(batch(200), Outcome{})
	write(5, 6, 7) // it was said since
	say(6, 300, true, 5, 6, 7)
	a.Settle(batch(300), Outcome{})
	write(5, 6, 7)
	write() // nobody asks any more
	say(7, 400, false, 5, 6, 7)
	write(5, 6, 7)
	saved = b.Saved()
	for name, s := range map[string]Saved{"removed": b.Remove("one"), "loaded": saved["one"]} {
		again := b.Open(name, s, false)
		if got := again.Asked(); got.Before != batch(400) || !slices.Equal(got.Series, []uint64{5, 6, 7}) || again.MayAsk(7, batch(400)) {
			t.Errorf("%s: %+v, or taken for written", name, got)
		}
	}

	b, a = newAccount()
	for i := range uint64(mostAsked) {
		a.MayAsk(i, batch(500))
	}
	b.Written(b.Saved())
	if told := a.MayAsk(mostAsked, batch(500)); told || a.Unordered() != batch(500) || len(a.Asked().Series) != mostAsked {
		t.Errorf("told is %t, unordered up to %s, %d series", told, a.Unordered(), len(a.Asked().Series))
	}
	a.Settle(batch(500), Outcome{})
	say(mostAsked, 600, false, mostAsked)
}

// TestMaySendLate: who sends late samples is told to write it first as long as the file
// may say less; what was late up to another time is in no order, unless it is settled.
func TestMaySendLate(t *testing.T) {
	t.Parallel()
	b, a := newAccount()
	batch := func(n int64) backlog.Position { return pos(running, 1, n) }
	say := func(upTo, n int64, unordered, told bool, want Late) {
		t.Helper()
		if got := a.MaySendLate(upTo, batch(n), unordered); got != told || a.Late() != want {
			t.Errorf("late up to %d, batch %d: told is %t, late %+v", upTo, n, got, a.Late())
		}
	}
	write := func() {
		saved := b.Saved()
		if saved["one"].Late != a.Late() {
			t.Errorf("saved %+v of %+v", saved["one"].Late, a.Late())
		}
		b.Written(saved)
	}
	write()
	say(-5, 100, false, false, Late{-5, batch(100), false})
	say(-5, 100, false, false, Late{-5, batch(100), false}) // it could not be written
	write()
	say(-5, 200, false, true, Late{-5, batch(200), false})
	say(-5, 200, true, false, Late{-5, batch(200), true})
	write()
	say(-5, 300, false, true, Late{-5, batch(300), true}) // until that is settled
	a.Settle(batch(300), Outcome{})
	say(-5, 400, false, true, Late{-5, batch(400), false}) // the file says more
	write()
	say(-5, 500, true, false, Late{-5, batch(500), true})
	write()
	a.Settle(batch(500), Outcome{})
	write()                                                // it stays
	say(-9, 600, false, true, Late{-9, batch(600), false}) // the clock was set back
	write()
	say(-5, 700, false, false, Late{-5, batch(700), true}) // of another queue, and the one before is not settled
	say(-9, 700, false, false, Late{-5, batch(700), true})
	write()
	say(-9, 700, false, true, Late{-5, batch(700), true})
	a.Settle(batch(700), Outcome{})
	say(-9, 800, false, true, Late{-9, batch(800), false})
	write()
	a.Settle(batch(800), Outcome{})
	say(-10, 900, false, false, Late{-10, batch(900), false}) // the file has it that those up to -9 are in order
	saved := b.Saved()
	say(-10, 900, false, false, Late{-10, batch(900), false}) // whether that is written or not
	b.Written(saved)
	say(-10, 900, false, true, Late{-10, batch(900), false})
	// Under another configuration, and after a stop.
	for name, s := range map[string]Saved{"removed": b.Remove("one"), "loaded": saved["one"]} {
		if again := b.Open(name, s, false); again.Late() != saved["one"].Late || again.MaySendLate(-10, batch(900), false) {
			t.Errorf("%s: late is %+v, or taken for written", name, again.Late())
		}
	}
}
