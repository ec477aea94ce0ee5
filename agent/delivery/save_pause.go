package delivery

import "time"

// savePause is how long a destination does not write delivery.json again that could not be
// written. On a full disk it would else be tried, with a sync of the segment, before every
// request that leaves the order of the WAL, of which a search makes one for each sample.
const savePause = time.Second

// saveTrouble decides whether delivery.json is written for a destination. It has no clock.
type saveTrouble struct {
	failed time.Time // when it could not be written; zero: it was, the last time
}

// due reports whether it is worth to write it.
func (t *saveTrouble) due(now time.Time) bool {
	return t.failed.IsZero() || now.Sub(t.failed) >= savePause
}

// did says what became of a write that ended now.
func (t *saveTrouble) did(now time.Time, err error) {
	t.failed = time.Time{}
	if err != nil {
		t.failed = now
	}
}
