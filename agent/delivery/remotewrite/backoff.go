package remotewrite

import (
	"math/rand/v2"
	"net/http"
	"time"
)

const (
	// shortestBackoff keeps a configuration of zero from asking without a pause.
	shortestBackoff = 10 * time.Millisecond
	// mending is how many times as long as max_backoff the pauses become where somebody
	// has to mend something first.
	mending = 6
	// limitShare of max_backoff is the shortest pause after a refusal by rate.
	limitShare = 10
)

// Backoff is how long to wait after attempt, counted from 0, failed. It doubles from
// shortest to longest, a queue's min_backoff and max_backoff, with jitter of half of it
// up or down: the many agents behind an endpoint must not come back at once. Jitter from
// nothing to twice of it would spread them no better, and keep some away for longer.
// wanted is what the endpoint asked for by Retry-After, 0 if it did not; it is not asked
// before.
func Backoff(attempt int, shortest, longest, wanted time.Duration) time.Duration {
	wait := unjittered(attempt, shortest, longest)
	wait = wait/2 + rand.N(wait)
	if wanted > 0 {
		wait = max(wait, wanted+rand.N(wanted/2+1))
	}
	return wait
}

// Grown reports whether pauses after attempt do not become longer any more.
func Grown(attempt int, shortest, longest time.Duration) bool {
	return unjittered(attempt, shortest, longest) >= longest
}

func unjittered(attempt int, shortest, longest time.Duration) time.Duration {
	wait := max(shortestBackoff, longest)
	for begin := max(shortestBackoff, shortest); attempt >= 0 && begin < wait; attempt-- {
		if attempt == 0 {
			return begin
		}
		begin *= 2
	}
	return wait
}

// Pauses returns the bounds of the pauses after a refusal, made of a queue's min_backoff
// and max_backoff, for Backoff. An endpoint that has had too much at once has no more
// room after some milliseconds; what somebody has to mend is asked again seldom.
func (r *Refusal) Pauses(shortest, longest time.Duration) (from, to time.Duration) {
	if r.TooFast() {
		shortest = max(shortest, longest/limitShare)
	}
	if !r.passes() {
		longest *= mending
	}
	return shortest, longest
}

// passes reports whether what was answered is likely to pass by itself, so that it is
// worth asking again soon. With a wrong token that would only be one more line in
// somebody's log.
func (r *Refusal) passes() bool {
	c := r.Class()
	return c == Unanswered || c == Passing || r.Status == http.StatusConflict && MayHaveStored(r.Status, r.Body)
}
