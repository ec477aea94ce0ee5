package ledger

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

const (
	raceRecords    = 20_000
	racePerSegment = 20
	raceSamples    = 3 // in a record
)

// race has several goroutines at one account.
type race struct {
	b         *Book
	a         *Account
	onDisk    atomic.Int64              // records that may be read
	ends      [raceRecords]atomic.Int32 // how often a record was settled, or counted as evicted
	evictions chan int
	stop      chan struct{}
}

func from(i int) backlog.Position {
	return pos(running, i/racePerSegment, int64(i%racePerSegment)*10)
}

func end(i int) backlog.Position {
	p := from(i)
	p.Offset += 10
	return p
}

// TestConcurrent: one goroutine commits, one reads, settles and at times gives up,
// one evicts around where the other reads, and one looks. However they meet, every
// record is delivered or evicted, and nothing remains.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	r := &race{b: NewBook(running, 0), evictions: make(chan int, 1), stop: make(chan struct{})}
	r.a = r.b.Open("one", Saved{Mark: from(0)}, false)
	var wg sync.WaitGroup
	wg.Go(r.commit)
	wg.Go(r.deliver)
	wg.Go(r.evict)
	wg.Go(func() { r.look(t) })
	wg.Wait()
	for i := range r.ends {
		if n := r.ends[i].Load(); n > 1 {
			t.Errorf("record %d came to %d ends", i, n)
		}
	}
	if residue := r.a.Drained(end(raceRecords - 1)); residue != 0 {
		t.Errorf("%d samples remained", residue)
	}
	terms := r.a.Terms()
	if terms.Appended != raceRecords*raceSamples || terms.Delivered+terms.Evicted != terms.Appended || terms.Delivered == 0 || terms.Evicted == 0 {
		t.Errorf("%+v, appended %d", terms, raceRecords*raceSamples)
	}
}

func (r *race) commit() {
	for range raceRecords {
		r.onDisk.Add(1) // and may be read, before it is counted
		r.b.Append(raceSamples, running)
	}
}

func (r *race) deliver() {
	defer close(r.stop)
	defer close(r.evictions)
	var pending []int
	calls := 0
	for i := 0; i < raceRecords; {
		if int64(i) >= r.onDisk.Load() {
			runtime.Gosched()
			continue
		}
		if r.a.Hold(from(i), end(i), raceSamples, int64(i+1)) {
			pending = append(pending, i)
		}
		if i%(3*racePerSegment) == racePerSegment/2 {
			to := min(raceRecords, i+racePerSegment+racePerSegment/2) // the end of the next segment
			for r.onDisk.Load() < int64(to) {
				runtime.Gosched()
			}
			r.evictions <- to
		}
		i++
		switch calls++; {
		case calls%13 == 0:
			r.settle(pending)
			pending = pending[:0]
		case calls%97 == 0:
			r.a.Forget()
			pending = pending[:0]
			for mark := r.a.Mark(); i > 0 && from(i-1).Compare(mark) >= 0; i-- {
			}
		}
	}
	r.settle(pending)
}

func (r *race) settle(records []int) {
	for _, i := range records {
		r.ends[i].Add(1)
	}
	if k := len(records); k > 0 {
		r.a.Settle(end(records[k-1]), Outcome{Delivered: uint64(k) * raceSamples})
	}
}

func (r *race) evict() {
	for to := range r.evictions {
		_, _ = r.a.Evict(from(to), func(begin, to backlog.Position) (sum uint64, _ error) {
			for i := range int(r.onDisk.Load()) {
				if from(i).Compare(begin) >= 0 && from(i).Compare(to) < 0 {
					r.ends[i].Add(1)
					sum += raceSamples
				}
			}
			return sum, nil
		})
	}
}

func (r *race) look(t *testing.T) {
	for {
		select {
		case <-r.stop:
			return
		default:
		}
		for _, terms := range r.b.Terms() {
			if terms.Sum() != terms.Appended {
				t.Errorf("%+v", terms)
			}
		}
		if terms := r.b.Saved()["one"].Terms; terms.Sum() != terms.Appended {
			t.Errorf("saved %+v", terms)
		}
		runtime.Gosched()
	}
}
