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

// scrapeSizes remembers how many samples each target had last.
type scrapeSizes struct {
	mtx  sync.Mutex
	last map[*scrape.Target]scrapeSize
	// full is the number of targets at which those are dropped that are gone.
	full int
}

type scrapeSize struct {
	samples uint64
	at      time.Time
}

func (s *scrapeSizes) note(target *scrape.Target, samples uint64, now time.Time) {
	if target == nil {
		return
	}
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if s.last == nil {
		s.last, s.full = map[*scrape.Target]scrapeSize{}, sizesAtLeast
	}
	s.last[target] = scrapeSize{samples, now}
	if len(s.last) < s.full {
		return
	}
	for t, size := range s.last {
		if now.Sub(size.at) > sizeKept {
			delete(s.last, t)
		}
	}
	s.full = max(sizesAtLeast, 2*len(s.last))
}

func (s *scrapeSizes) of(target *scrape.Target) uint64 {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	return s.last[target].samples
}
