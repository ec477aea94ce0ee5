package delivery

import "github.com/go-kit/log/level"

// shrink is what a 413 leads to: requests of at most n samples, for as long as
// the configuration stays. Upstream's queue does not halve by itself; it gets
// the smaller batch size at the next hand-over.
func (t *destination) shrink(n int) {
	t.mtx.Lock()
	smaller := n < t.endpoint.BatchSize()
	if smaller {
		t.endpoint = t.endpoint.WithBatchSize(n)
	}
	t.mtx.Unlock()
	level.Warn(t.logger).Log("msg", "The endpoint finds requests too large, sending fewer samples in each", "samples", n)
}
