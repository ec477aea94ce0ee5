package delivery

import "time"

const (
	// acksToGrow is how many full requests in a row must be acknowledged before
	// larger ones are tried, growthPause how long to wait otherwise, as a part of
	// the shortest stay behind: what is sent at a WAL's end fills no request.
	acksToGrow  = 16
	growthPause = 6
	// mostReluctant bounds by how much either grows where larger requests are
	// refused again and again.
	mostReluctant = 256
)

// requestSize is how many items a request may hold, as the endpoint's 413s have
// taught. They halve it; it doubles by itself until nothing is left of the bound.
// An endpoint whose limit lies below the configured size is asked for more ever
// less often. It has no clock.
type requestSize struct {
	pause time.Duration // between two growths, at first

	limit   int // 0: the configured size
	changed time.Time
	refused int // 413s in a row
	acks    int // of full requests since changed
	// grown: the limit is one that nothing was acknowledged at yet; before is what
	// it was.
	grown      bool
	before     int
	reluctance int // factor of pause and acksToGrow; 0 stands for 1
}

// most is how many items a request may hold that holds so many by configuration.
func (s *requestSize) most(configured int) int {
	if s.limit == 0 {
		return configured
	}
	return min(configured, s.limit)
}

// tooLarge notes a 413 for a request of n items.
func (s *requestSize) tooLarge(n int, now time.Time) {
	if s.grown {
		s.reluctance = min(2*s.factor(), mostReluctant)
	}
	s.refused++
	s.grown, s.acks, s.changed = false, 0, now
	if half := max(1, n/2); s.limit == 0 || half < s.limit {
		s.limit = half
	}
}

// acknowledged notes that a request of n items was taken, of those that may hold
// so many at the most by configuration.
func (s *requestSize) acknowledged(n, configured int, now time.Time) {
	s.refused = 0
	if s.grown && n > s.before {
		s.grown, s.reluctance = false, 1
	}
	if s.limit == 0 {
		return
	}
	if n >= s.limit {
		s.acks++
	}
	if s.acks >= acksToGrow*s.factor() {
		s.grow(configured, now)
		return
	}
	s.passed(configured, now)
}

// passed notes that time has passed: with nothing to send, nothing is acknowledged.
func (s *requestSize) passed(configured int, now time.Time) {
	if s.refused == 0 && s.due(now) {
		s.grow(configured, now)
	}
}

func (s *requestSize) grow(configured int, now time.Time) {
	s.before, s.limit = s.limit, 2*s.limit
	s.grown, s.acks, s.changed = true, 0, now
	if s.limit >= configured {
		s.limit = 0
	}
}

func (s *requestSize) factor() int { return max(1, s.reluctance) }

// due reports whether larger requests should be tried, for the time that has
// passed.
func (s *requestSize) due(now time.Time) bool {
	return s.limit > 0 && now.Sub(s.changed) >= s.pause*time.Duration(s.factor())
}

// recovering reports whether the size is on its way back, and nothing says yet that
// it will not get there.
func (s *requestSize) recovering() bool { return s.limit > 0 && s.factor() == 1 }
