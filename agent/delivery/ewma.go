package delivery

import "time"

// rateWindow is the time constant of rates.
const rateWindow = 10 * time.Second

// ewma is an exponentially weighted moving average of events a second.
type ewma struct {
	value float64
	count uint64
	last  time.Time
}

func (r *ewma) add(n uint64) {
	r.count += n
	r.roll()
}

func (r *ewma) roll() {
	now := time.Now()
	if r.last.IsZero() {
		r.last = now
		return
	}
	dt := now.Sub(r.last)
	if dt < time.Second {
		return
	}
	weight := min(1, float64(dt)/float64(rateWindow))
	if r.value == 0 {
		weight = 1
	}
	r.value += weight * (float64(r.count)/dt.Seconds() - r.value)
	r.count, r.last = 0, now
}

func (r *ewma) perSecond() float64 {
	r.roll()
	return r.value
}
