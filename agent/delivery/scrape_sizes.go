package delivery

import (
	"sync"
	"time"

	"github.com/prometheus/prometheus/scrape"
)

const (
	// sizeKept is how long the size of a target is remembered: longer than any
	// sensible scrape interval.
	sizeKept = time.Hour
	// sizesAtLeast is how many may be remembered before old ones are looked for.
	sizesAtLeast = 64
)

// scrapeSizes remembers how many samples each target had last, and how large its
// answer was.
type scrapeSizes struct {
	mtx  sync.Mutex
	last map[*scrape.Target]scrapeSize
	// full is the number of targets at which those are dropped that are gone.
	full int
}

type scrapeSize struct {
	samples uint64
	bytes   uint64
	at      time.Time
}

func (s *scrapeSizes) note(target *scrape.Target, samples uint64, now time.Time) {
	if target == nil {
		return
	}
	s.mtx.Lock()
	defer s.mtx.Unlock()
	s.keep(target, scrapeSize{samples, s.last[target].bytes, now})
}

// noteBody is called before note, and without it when nothing can be appended.
func (s *scrapeSizes) noteBody(target *scrape.Target, bytes uint64, now time.Time) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	s.keep(target, scrapeSize{s.last[target].samples, bytes, now})
}

// keep remembers a size, and forgets old ones. Callers hold mtx.
func (s *scrapeSizes) keep(target *scrape.Target, size scrapeSize) {
	if s.last == nil {
		s.last, s.full = map[*scrape.Target]scrapeSize{}, sizesAtLeast
	}
	s.last[target] = size
	if len(s.last) < s.full {
		return
	}
	for t, old := range s.last {
		if size.at.Sub(old.at) > sizeKept {
			delete(s.last, t)
		}
	}
	s.full = max(sizesAtLeast, 2*len(s.last))
}

func (s *scrapeSizes) of(target *scrape.Target) scrapeSize {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	return s.last[target]
}
