package remotewrite

import (
	"math/rand/v2"
	"time"
)

// shortestBackoff keeps a configuration of zero from asking without a pause.
const shortestBackoff = 10 * time.Millisecond

// Backoff is how long to wait after attempt, counted from 0, failed. It doubles
// from a queue's min_backoff to six times its max_backoff, with jitter of half
// of it up or down: the many agents behind an endpoint must not come back at
// once. wanted is what the endpoint asked for by Retry-After, 0 if it did not;
// it is not asked before.
func Backoff(attempt int, shortest, longest, wanted time.Duration) time.Duration {
	wait := max(shortestBackoff, 6*longest)
	for begin := max(shortestBackoff, shortest); attempt >= 0 && begin < wait; attempt-- {
		if attempt == 0 {
			wait = begin
		}
		begin *= 2
	}
	wait = wait/2 + rand.N(wait)
	if wanted > 0 {
		wait = max(wait, wanted+rand.N(wanted/2+1))
	}
	return wait
}
