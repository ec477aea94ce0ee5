package selection

import "github.com/prometheus/prometheus/tsdb/chunks"

// pageRefs is how many references share a page: one KiB for what is next to each other.
const pageRefs = 4096

// refs are the series that have been read, as two bits each: upstream counts
// references up from 1 in each generation, so that they lie close together.
type refs struct {
	pages map[uint64]*page
	// at is the page that was used last, of number. References of a record are mostly of
	// one target, which got them in a row.
	at     *page
	number uint64
}

type page struct {
	known, dropped [pageRefs / 64]uint64
}

func (r *refs) forget() { *r = refs{pages: map[uint64]*page{}} }

// store notes that a series has been read, and whether the destination gets it.
func (r *refs) store(ref chunks.HeadSeriesRef, keep bool) {
	p := r.page(ref)
	if p == nil {
		p = &page{}
		r.pages[uint64(ref)/pageRefs] = p
		r.at, r.number = p, uint64(ref)/pageRefs
	}
	word, bit := place(ref)
	p.known[word] |= bit
	if keep {
		p.dropped[word] &^= bit
	} else {
		p.dropped[word] |= bit
	}
}

// find reports whether a series has been read, and whether the destination gets it.
func (r *refs) find(ref chunks.HeadSeriesRef) (known, keep bool) {
	p := r.page(ref)
	if p == nil {
		return false, false
	}
	word, bit := place(ref)
	known = p.known[word]&bit != 0
	return known, known && p.dropped[word]&bit == 0
}

// page returns nil when nothing of the page has been stored.
func (r *refs) page(ref chunks.HeadSeriesRef) *page {
	number := uint64(ref) / pageRefs
	if r.at == nil || r.number != number {
		p := r.pages[number]
		if p == nil {
			return nil
		}
		r.at, r.number = p, number
	}
	return r.at
}

func place(ref chunks.HeadSeriesRef) (word int, bit uint64) {
	n := uint64(ref) % pageRefs
	return int(n / 64), 1 << (n % 64)
}
