package receive

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// seriesSpan is for how long a series counts that was begun, at least. The storage keeps
	// one for an hour without samples (agent.retention).
	seriesSpan = time.Hour
	// rateSpan is the time in whose mean the rate is looked at.
	rateSpan = 10 * time.Second
	// mostAddresses have an allowance; beyond them, the one that was silent for longest
	// begins anew.
	mostAddresses = 500
)

// allowances are what may come from each address, as accountOf has it: labels are what a sender
// likes.
type allowances struct {
	maxSeries uint64  // 0: any number
	maxRate   float64 // 0: any number

	mtx       sync.Mutex
	byAddress map[string]*allowance
}

// allowance of one address.
type allowance struct {
	samples *rate.Limiter // nil: any number
	used    time.Time
	// begun is how many series it has begun since, and before in as much time.
	begun, before uint64
	since         time.Time
}

func newAllowances(maxSeries uint64, maxRate float64) *allowances {
	return &allowances{maxSeries: maxSeries, maxRate: maxRate, byAddress: map[string]*allowance{}}
}

// of returns the allowance of an address. Callers hold mtx.
func (as *allowances) of(address string, now time.Time) *allowance {
	a := as.byAddress[address]
	if a == nil {
		if len(as.byAddress) >= mostAddresses {
			as.forgetOne()
		}
		a = &allowance{since: now}
		if as.maxRate > 0 {
			a.samples = rate.NewLimiter(rate.Limit(as.maxRate), int(max(1, as.maxRate*rateSpan.Seconds())))
		}
		as.byAddress[address] = a
	}
	a.used = now
	return a
}

func (as *allowances) forgetOne() {
	var oldest string
	for address, a := range as.byAddress {
		if oldest == "" || a.used.Before(as.byAddress[oldest].used) {
			oldest = address
		}
	}
	delete(as.byAddress, oldest)
}

// begin reports whether an address may begin one more series, and counts it.
func (as *allowances) begin(address string, now time.Time) bool {
	as.mtx.Lock()
	defer as.mtx.Unlock()
	a := as.of(address, now)
	if ago := now.Sub(a.since); ago >= seriesSpan {
		a.before, a.begun, a.since = a.begun, 0, now
		if ago >= 2*seriesSpan {
			a.before = 0
		}
	}
	if as.maxSeries > 0 && a.before+a.begun >= as.maxSeries {
		return false
	}
	a.begun++
	return true
}

// admit reports whether an address may send so many samples more. One request that has
// more than may come in rateSpan could never pass: it does when nothing was sent for that
// long, and the next one waits for all of it.
func (as *allowances) admit(address string, now time.Time, n uint64) bool {
	as.mtx.Lock()
	defer as.mtx.Unlock()
	limiter := as.of(address, now).samples
	if limiter == nil {
		return true
	}
	burst := uint64(limiter.Burst())
	if !limiter.AllowN(now, int(min(n, burst))) {
		return false
	}
	for n -= min(n, burst); n > 0; n -= min(n, burst) {
		limiter.ReserveN(now, int(min(n, burst)))
	}
	return true
}
