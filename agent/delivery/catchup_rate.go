package delivery

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// leastBurst is how many samples may be sent at once at any rate.
const leastBurst = 10_000

// catchUpRate bounds what all drainers together ship, in samples a second.
type catchUpRate struct {
	limiter *rate.Limiter // nil: unbounded
	most    float64
}

// newCatchUpRate takes samples a second; 0 means unbounded.
func newCatchUpRate(most float64) *catchUpRate {
	c := &catchUpRate{most: most}
	if most > 0 {
		c.limiter = rate.NewLimiter(rate.Limit(most), int(math.Max(most, leastBurst)))
	}
	return c
}

// follow keeps the rate at no less than twice that of what is appended, or a
// backlog would never end.
func (c *catchUpRate) follow(appended float64) {
	if c.limiter != nil {
		c.limiter.SetLimit(rate.Limit(math.Max(c.most, 2*appended)))
	}
}

// delay returns how long to wait before n items may be sent. More than the burst are
// taken in turn: the limiter reserves no more at once.
func (c *catchUpRate) delay(n int) (wait time.Duration) {
	if c.limiter == nil {
		return 0
	}
	now := time.Now()
	for most := c.limiter.Burst(); n > 0; n -= most {
		wait = c.limiter.ReserveN(now, min(n, most)).DelayFrom(now)
	}
	return wait
}
