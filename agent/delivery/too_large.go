package delivery

import (
	"time"

	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// largeSample is the size of a request with one sample, in bytes before
// compression, above which the sample itself is to blame for a 413: labels and a
// histogram take some hundred bytes, a thousand at times. A smaller one is kept
// until the endpoint takes it.
const largeSample = 16 << 10

// large reports whether a single item is large by itself.
func large(items []remotewrite.Item) bool {
	var s remotewrite.Size
	return len(items) == 1 && s.Add(items) > largeSample
}

// shrink is what a 413 for a request of n items leads to.
func (t *destination) shrink(n int) {
	t.mtx.Lock()
	first := t.requests.refused == 0
	t.requests.tooLarge(n, time.Now())
	most := t.requests.limit
	t.mtx.Unlock()
	if first {
		level.Warn(t.logger).Log("msg", "The endpoint finds requests too large, sending fewer samples in each", "samples", most)
	}
}

// fits notes that a request of n items was acknowledged.
func (t *destination) fits(n int) {
	t.resize(func(s *requestSize, configured int, now time.Time) { s.acknowledged(n, configured, now) })
}

// resize lets requests grow again.
func (t *destination) resize(by func(s *requestSize, configured int, now time.Time)) {
	t.mtx.Lock()
	bound := t.requests.limit > 0
	by(&t.requests, largestFactor*t.endpoint.BatchSize(), time.Now())
	unbound := bound && t.requests.limit == 0
	t.mtx.Unlock()
	if unbound {
		level.Info(t.logger).Log("msg", "Requests may have their configured size again")
	}
}

// queueSize is how many items a request of a queue may hold that is started now.
func (t *destination) queueSize() int {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	return t.requests.most(t.endpoint.BatchSize())
}

// outgrown reports whether a live queue with requests of so many items should be
// replaced by one with larger ones.
func (t *destination) outgrown(size int) bool {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	return size < t.endpoint.BatchSize() && (t.requests.limit == 0 || t.requests.due(time.Now()))
}

// most is how many items a request of the backlog may hold: fewer when the endpoint
// finds requests too large, or memory is short.
func (d *sender) most() int {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	return d.memory.shrunk(d.requests.most(largestFactor * d.endpoint.BatchSize()))
}

// tooLargeInRow is how many 413s in a row there were.
func (d *sender) tooLargeInRow() int {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	return d.requests.refused
}
