package ledger

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// fate of one record at one destination.
type fate int

const (
	unread  fate = iota
	claimed      // by an eviction that has not counted it yet
	inMemory
	evicted
	delivered
	refused
	filtered
	doubted
	before // the destination began
)

// entry is a record of the WAL.
type entry struct {
	from, end backlog.Position
	n         uint64
	t         int64
	onDisk    bool
}

// world is a WAL, a book, and what is to be found in it. It knows every record's
// fate, and adds up anew at every look.
type world struct {
	t       *testing.T
	rnd     *rand.Rand
	running int
	book    *Book
	log     []entry
	// late were written to the WAL; Append is yet to be called for them.
	late    []int
	deleted backlog.Position
	clients map[string]*client
	names   int
	calls   int

	file  File
	saved map[string]*client // as of file
	tail  int                // records when it was written
	depth int                // of calls from within Evict
}

type client struct {
	a     *Account
	fates []fate
	// appended: counted so, for this destination. closed: crossed.
	appended, closed []bool
	next             int // to be read
	evicted, sent    backlog.Position
	// unexplained was appended in old generations, nobody knows in which records;
	// more is the same after these were crossed.
	unexplained, more int64
	lost              uint64
	counting          bool
	pending           bool // Crossed, while an eviction is going on
	outcomes          Outcome
}

func (c *client) clone() *client {
	d := *c
	d.fates, d.appended, d.closed = slices.Clone(c.fates), slices.Clone(c.appended), slices.Clone(c.closed)
	d.outcomes = Outcome{}
	d.outcomes.Merge(c.outcomes)
	return &d
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), clients: map[string]*client{}, running: 1, book: NewBook(1, 0)}
	w.born()
	w.born()
	w.save()
	return w
}

func (w *world) end() backlog.Position {
	if len(w.log) == 0 {
		return backlog.Position{Generation: w.running}
	}
	end := w.log[len(w.log)-1].end
	if end.Generation != w.running {
		return backlog.Position{Generation: w.running}
	}
	return end
}

// born opens a new destination at the WAL's end.
func (w *world) born() {
	w.settleLate()
	w.names++
	name := string(rune('a' + w.names%26))
	if w.clients[name] != nil {
		return
	}
	c := &client{next: len(w.log)}
	for range w.log {
		c.grow(before, false)
	}
	c.a = w.book.Open(name, Saved{URL: name, Mark: w.end()}, false)
	w.clients[name] = c
}

func (c *client) grow(f fate, appended bool) {
	c.fates = append(c.fates, f)
	c.appended = append(c.appended, appended)
	c.closed = append(c.closed, false)
}

// commit writes one record.
func (w *world) commit() {
	e := entry{from: w.end(), n: uint64(w.rnd.IntN(5) * w.rnd.IntN(300)), t: int64(1 + w.rnd.IntN(1000)), onDisk: true}
	e.end = e.from
	if w.rnd.IntN(6) == 0 {
		e.end.Segment, e.end.Offset = e.end.Segment+1, 0
		if w.rnd.IntN(2) == 0 {
			e.from = e.end
		}
	}
	e.end.Offset += int64(1 + w.rnd.IntN(100))
	w.log = append(w.log, e)
	for _, c := range w.clients {
		c.grow(unread, false)
	}
	switch w.rnd.IntN(10) {
	case 0: // the commit fails: nobody is told
	case 1, 2:
		w.late = append(w.late, len(w.log)-1)
	default:
		w.append(len(w.log) - 1)
	}
}

func (w *world) append(i int) {
	w.book.Append(w.log[i].n, w.log[i].end.Generation)
	for _, c := range w.clients {
		if c.fates[i] != before {
			c.appended[i] = true
		}
	}
}

func (w *world) settleLate() {
	for _, i := range w.late {
		w.append(i)
	}
	w.late = nil
}

// read takes the next record into memory.
func (w *world) read(c *client) {
	for c.next < len(w.log) && !w.log[c.next].onDisk {
		c.next++
	}
	if c.next == len(w.log) {
		return
	}
	e := w.log[c.next]
	want := beginOfSegment(e.end).Compare(c.evicted) >= 0
	if got := c.a.Hold(e.from, e.end, e.n, e.t); got != want {
		w.t.Fatalf("Hold of a record at %s, evicted up to %s: %v", e.from, c.evicted, got)
	}
	if want {
		if c.fates[c.next] != unread {
			w.t.Fatalf("record at %s is read, and was %d", e.from, c.fates[c.next])
		}
		c.fates[c.next] = inMemory
	}
	c.next++
}

// settle a number of records from memory, in order.
func (w *world) settle(c *client) {
	var (
		o   Outcome
		end backlog.Position
	)
	for i, k := 0, w.rnd.IntN(5); i < len(w.log) && k > 0; i++ {
		if c.fates[i] != inMemory {
			continue
		}
		k--
		end = w.log[i].end
		n := w.log[i].n
		switch w.rnd.IntN(6) {
		case 0:
			c.fates[i] = refused
			o.Refuse([]string{"http_400", "out_of_order"}[w.rnd.IntN(2)], n)
		case 1:
			c.fates[i] = filtered
			o.Filter("relabelled", n)
		case 2:
			c.fates[i] = doubted
			o.Doubt("http_400", n)
		default:
			c.fates[i] = delivered
			o.Delivered += n
		}
	}
	if w.rnd.IntN(10) == 0 {
		o.DamagedBytes, o.LostStretches = 100, 1
	}
	c.outcomes.Merge(o)
	c.a.Settle(end, o)
}

// evict takes everything before to from all destinations, and deletes it. Others
// go on while it is counted.
func (w *world) evict() {
	if w.depth > 0 || len(w.log) == 0 {
		return
	}
	w.depth++
	defer func() { w.depth-- }()
	to := w.log[w.rnd.IntN(len(w.log))].end
	if to.Compare(w.deleted) <= 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(w.clients)) {
		c := w.clients[name]
		c.evicted = later(c.evicted, beginOfSegment(to))
		var want uint64
		for i, e := range w.log {
			if c.fates[i] == unread && e.onDisk && e.end.Compare(c.evicted) < 0 {
				c.fates[i] = claimed
				want += e.n
			}
		}
		n, err := c.a.Evict(to, func(from, to backlog.Position) (n uint64, err error) {
			for i, e := range w.log {
				if e.onDisk && e.end.Compare(from) > 0 && e.end.Compare(to) <= 0 {
					n += e.n
					if c.fates[i] != claimed {
						w.t.Fatalf("%s: record at %s is evicted, and was %d", name, e.from, c.fates[i])
					}
				}
			}
			for range w.rnd.IntN(6) {
				w.step()
			}
			return n, nil
		})
		if err != nil || n != want {
			w.t.Fatalf("%s: %d evicted up to %s, %v; expected %d", name, n, to, err, want)
		}
		for i := range c.fates {
			if c.fates[i] == claimed {
				c.fates[i] = evicted
			}
		}
		if c.pending {
			c.pending = false
			w.close(c, w.running)
		}
		w.check()
	}
	w.save()
	w.deleted = beginOfSegment(to)
	for i := range w.log {
		if w.log[i].end.Compare(w.deleted) < 0 {
			w.log[i].onDisk = false
		}
	}
}

func (w *world) forget(c *client) {
	c.a.Forget()
	c.forget(w)
	if got := c.a.Read(); got != c.a.Mark() {
		w.t.Fatalf("read up to %s after Forget, the mark is %s", got, c.a.Mark())
	}
	c.rewind(w)
}

func (c *client) forget(w *world) {
	for i, e := range w.log {
		if c.fates[i] == inMemory {
			c.fates[i] = unread
			if e.end.Compare(c.evicted) < 0 {
				c.fates[i] = evicted
			}
		}
	}
}

// rewind puts the reader at the mark.
func (c *client) rewind(w *world) {
	c.next = 0
	for c.next < len(w.log) && w.log[c.next].end.Compare(c.a.Mark()) <= 0 {
		c.next++
	}
}

// cross says so when everything of the earlier generations has been read.
func (w *world) cross(c *client, to int) {
	for i, e := range w.log {
		if e.end.Generation < to && (c.fates[i] == inMemory || c.fates[i] == unread && e.onDisk) {
			return
		}
	}
	c.a.Crossed(to)
	if to < w.running {
		return // what is old came out of one file, and is known as a sum
	}
	if slices.Contains(c.fates, claimed) {
		c.pending = true
		return
	}
	w.close(c, to)
}

// close finds out what remains of the generations below one.
func (w *world) close(c *client, to int) {
	left := c.unexplained
	c.more += c.unexplained
	c.unexplained = 0
	for i, e := range w.log {
		if !c.closed[i] && e.end.Generation < to {
			left += c.remainder(i, e)
			c.closed[i] = true
		}
	}
	if left > 0 {
		c.lost += uint64(left)
	} else {
		c.more -= left
	}
	c.counting = false
}

// remainder is what a record leaves to be read: less than nothing when it has
// been read without having been appended.
func (c *client) remainder(i int, e entry) (left int64) {
	if c.appended[i] {
		left += int64(e.n)
	}
	if f := c.fates[i]; f != unread && f != claimed && f != before {
		left -= int64(e.n)
	}
	return left
}

// left is what is to be read yet, as far as anybody knows.
func (w *world) left(c *client) int64 {
	left := c.unexplained
	for i, e := range w.log {
		if !c.closed[i] {
			left += c.remainder(i, e)
		}
	}
	return left
}

// terms adds up what became of all records.
func (w *world) terms(c *client) Terms {
	t := Terms{
		Delivered: c.outcomes.Delivered, Refused: c.outcomes.Refused, Filtered: c.outcomes.Filtered, Uncertain: c.outcomes.Uncertain,
		DamagedBytes: c.outcomes.DamagedBytes, LostStretches: c.outcomes.LostStretches, Lost: c.lost,
	}
	for i, e := range w.log {
		switch c.fates[i] {
		case evicted:
			t.Evicted += e.n
		case inMemory:
			t.OnDisk += e.n
		}
		if c.appended[i] {
			t.Appended += e.n
		}
	}
	left := w.left(c)
	t.OnDisk += uint64(max(0, left))
	t.Appended += uint64(c.unexplained + c.more + max(0, -left))
	return t
}
