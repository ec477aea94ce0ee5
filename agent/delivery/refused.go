package delivery

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// manner is what an endpoint does with the good samples of a request that it
// refuses for some of them.
type manner uint8

const (
	unknownManner manner = iota
	// storesGood: Cortex, Mimir, Thanos store what they can and answer 400 for
	// the rest, of which they name one. Nothing is sent again: the good samples
	// are there already, and would be refused as out of order.
	storesGood
	// allOrNothing: Prometheus' receiver rolls the whole request back.
	allOrNothing
)

// hopeless is after how many requests in vain, for parts of one refused batch,
// an endpoint is taken to refuse everything.
const hopeless = 32

// splitting counts what finding the refused samples of one batch has cost.
type splitting struct {
	asked      int
	taken      bool // a part of the batch has been acknowledged
	maybeThere bool // an earlier request may have stored some of it
}

func (s *splitting) inVain() bool { return !s.taken && s.asked >= hopeless }

func kindOf(status int) string {
	if status == 0 {
		return "no answer"
	}
	return "HTTP " + strconv.Itoa(status)
}

// reasonOf names a refusal in the ledger.
func reasonOf(r *refusal) string {
	switch {
	case outOfWindow(r.body):
		return "out_of_bounds"
	case alreadyThere(r.body):
		return "out_of_order"
	}
	return "http_" + strconv.Itoa(r.status)
}

// mayHaveStored tells whether a request that got this answer may have been
// stored all the same: no answer came, or one by a proxy that gave up waiting.
// Where there was no connection (a refused one, an unknown name, an untrusted
// certificate) there was no request either.
func mayHaveStored(status int, words string) bool {
	if status == 0 {
		return !strings.Contains(words, "dial tcp") && !strings.Contains(words, "tls: failed to verify")
	}
	return status >= 500
}

// refused decides what a final refusal of items means, and counts it in b.
// maybeThere: an earlier request may have stored them.
func (d *drain) refused(ctx context.Context, items []item, b *batch, r *refusal, maybeThere bool) error {
	n := samplesOf(items)
	there := maybeThere && alreadyThere(r.body)
	switch {
	case there && (len(items) == 1 || d.storedGood(r)):
		d.learnFromResend(b, true)
		b.tally.delivered += n
		return nil
	case len(items) == 1:
		b.tally.refuse(reasonOf(r), n)
		return nil
	}
	if !there && d.mannerOf() == unknownManner && r.status == http.StatusBadRequest {
		if err := d.learnManner(ctx, items, maybeThere); err != nil {
			return err
		}
	}
	if d.mannerOf() == storesGood {
		b.tally.doubt(reasonOf(r), n)
		return nil
	}
	return d.split(ctx, items, b, r, &splitting{maybeThere: maybeThere})
}

// storedGood tells whether the good samples of a request are stored that was
// refused for samples that are there already. As long as the manner is not
// known, by the words: endpoints that store them name a series that they mean,
// Prometheus does not.
func (d *drain) storedGood(r *refusal) bool {
	m := d.mannerOf()
	return m == storesGood || m == unknownManner && strings.Contains(r.body, "series")
}

// learnManner finds out what an endpoint does with the good samples of a
// refused request: it sends an older sample of a series whose newer one was in
// the request too. An endpoint that stored the newer one refuses the older; one
// that rolled back takes it. With no such pair, splitting tells the samples
// apart exactly in either manner, so nothing need be known. What maybeThere is
// there already may be refused in either manner.
func (d *drain) learnManner(ctx context.Context, items []item, maybeThere bool) error {
	older, ok := olderOfPair(items)
	if !ok {
		return nil
	}
	err := d.send(ctx, []item{older}, 0)
	var r *refusal
	switch {
	case err == nil:
		d.setManner(allOrNothing)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &r) && r.status == http.StatusBadRequest && alreadyThere(r.body) && (!maybeThere || d.storedGood(r)):
		d.setManner(storesGood)
	}
	return nil
}

func (t *destination) setManner(m manner) {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.manner = m
}

// learnFromResend draws the conclusion from the first answer to a batch that
// was refused when live, because of samples in it that were there already: if
// the others are there as well, the endpoint stores what is good. If it takes
// them now, they may not have been; to be safe, it is not served so again.
func (d *drain) learnFromResend(b *batch, there bool) {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	if !d.suspect || !b.resent {
		return
	}
	d.suspect = false
	d.manner = allOrNothing
	if there {
		d.manner = storesGood
	}
}

func olderOfPair(items []item) (item, bool) {
	first := make(map[uint64]int, len(items))
	for i, it := range items {
		if it.kind == exemplarItem {
			continue
		}
		if j, ok := first[uint64(it.ref)]; ok && items[j].t < it.t {
			return items[j], true
		}
		first[uint64(it.ref)] = i
	}
	return item{}, false
}

// split sends the two halves of a refused request by themselves, down to the
// samples that are refused. An endpoint that finds everything out of its window
// is asked once more, for one new sample, and then no more.
func (d *drain) split(ctx context.Context, items []item, b *batch, r *refusal, s *splitting) error {
	there := s.maybeThere && alreadyThere(r.body)
	switch {
	case there && len(items) == 1:
		b.tally.delivered += samplesOf(items)
		return nil
	case len(items) == 1 || s.inVain() && !there:
		b.tally.refuse(reasonOf(r), samplesOf(items))
		return nil
	}
	if outOfWindow(r.body) && s.asked == 0 {
		if rest, ok := newestAlone(items); ok {
			last := len(rest) - 1
			again, err := d.try(ctx, rest[last:], b, s)
			if err != nil {
				return err
			}
			items = rest[:last]
			if again != nil {
				b.tally.refuse(reasonOf(again), samplesOf(rest))
				return nil
			}
		}
	}
	for _, half := range [][]item{items[:len(items)/2], items[len(items)/2:]} {
		if len(half) == 0 {
			continue
		}
		again, err := d.try(ctx, half, b, s)
		if err != nil {
			return err
		}
		if again == nil {
			continue
		}
		if err := d.split(ctx, half, b, again, s); err != nil {
			return err
		}
	}
	return nil
}

// newestAlone moves to the end the newest sample that is the only one of its
// series in items: sent first, it overtakes nothing.
func newestAlone(items []item) ([]item, bool) {
	count := make(map[uint64]int, len(items))
	for _, it := range items {
		count[uint64(it.ref)]++
	}
	newest := -1
	for i, it := range items {
		if it.kind != exemplarItem && count[uint64(it.ref)] == 1 && (newest < 0 || it.t >= items[newest].t) {
			newest = i
		}
	}
	if newest < 0 {
		return nil, false
	}
	out := make([]item, 0, len(items))
	out = append(out, items[:newest]...)
	out = append(out, items[newest+1:]...)
	return append(out, items[newest]), true
}

// try sends a part of a refused request until it is acknowledged (nil) or
// refused for good.
func (d *drain) try(ctx context.Context, items []item, b *batch, s *splitting) (*refusal, error) {
	for attempt := 0; ; attempt++ {
		err := d.send(ctx, items, attempt)
		if err == nil {
			s.asked, s.taken = s.asked+1, true
			b.tally.delivered += samplesOf(items)
			return nil, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var r *refusal
		if !errors.As(err, &r) {
			return nil, err
		}
		if final(r.status) || r.status == http.StatusRequestEntityTooLarge {
			s.asked++
			return r, nil
		}
		d.failed(kindOf(r.status), r.Error())
		if !d.pause(ctx, d.backoff(attempt, r.retryAfter)) {
			return nil, ctx.Err()
		}
	}
}
