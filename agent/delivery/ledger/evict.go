package ledger

import (
	"errors"
	"slices"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// Evict counts what is about to be deleted before to, the beginning of a segment,
// and has not been read: these n samples are evicted. Held samples stay held;
// they may still be delivered.
//
// count returns the samples on disk between two positions. It is called without a
// lock, for one stretch after another, when everything before to has been taken
// away from the reader already. Nothing may be deleted before Evict has returned.
// When count fails, what could not be counted stays unread, until Crossed finds
// that it is lost.
func (a *Account) Evict(to backlog.Position, count func(from, to backlog.Position) (uint64, error)) (n uint64, err error) {
	from, spans := a.claim(beginOfSegment(to))
	if spans == nil {
		return 0, nil
	}
	counts := make([]uint64, len(spans))
	for i, s := range spans {
		var cerr error
		counts[i], cerr = count(s.from, s.to)
		err = errors.Join(err, cerr)
		n += counts[i]
	}
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	for i, s := range spans {
		*a.unread.covering(s.from.Generation) -= int64(counts[i])
		a.terms.Evicted += counts[i]
	}
	a.claims = slices.DeleteFunc(a.claims, func(p backlog.Position) bool { return p == from })
	a.settleGone()
	return n, err
}

// claim takes everything before to that has not been read away from the reader.
// It returns no spans when there is no such thing.
func (a *Account) claim(to backlog.Position) (from backlog.Position, spans []span) {
	a.book.mtx.Lock()
	defer a.book.mtx.Unlock()
	from = later(a.mark, a.read, a.evicted)
	a.evicted = later(a.evicted, to)
	if from.Compare(to) < 0 {
		spans = a.unread.spans(from, to)
		a.read = to
		a.claims = append(a.claims, from)
	}
	a.settleGone()
	return from, spans
}
