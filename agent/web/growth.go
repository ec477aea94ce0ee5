package web

import (
	"time"

	"github.com/opstrace/opstrace-agent/agent"
)

const (
	growthLen = 60 // intervals of sampleInterval: ten minutes
	// The first minute of a run writes the names of all series, which says nothing
	// about the rate from then on.
	growthSkip = 6
	// growthAtLeast is how many intervals make a rate.
	growthAtLeast = 6
)

// growth measures how fast what is scraped fills the storage.
type growth struct {
	seen         time.Time
	bytes        int64 // then
	skipped      int
	next, filled int
	grown        [growthLen]int64         // bytes
	took         [growthLen]time.Duration // each of them
}

// look takes what is on disk at a moment. What was deleted meanwhile hides what
// was written in the same interval: few intervals have such a moment.
func (g *growth) look(now time.Time, bytes int64) {
	took := now.Sub(g.seen)
	switch {
	case g.seen.IsZero():
	case took < sampleInterval-firstInterval/2:
		return
	case took > 2*sampleInterval: // the host slept
	case g.skipped < growthSkip:
		g.skipped++
	case bytes >= g.bytes:
		g.grown[g.next], g.took[g.next] = bytes-g.bytes, took
		g.next = (g.next + 1) % growthLen
		g.filled = min(g.filled+1, growthLen)
	}
	g.seen, g.bytes = now, bytes
}

// perSecond in bytes; known tells whether enough was seen.
func (g *growth) perSecond() (rate float64, known bool) {
	var bytes int64
	var took time.Duration
	for i := range g.filled {
		bytes += g.grown[i]
		took += g.took[i]
	}
	if g.filled < growthAtLeast {
		return 0, false
	}
	return float64(bytes) / took.Seconds(), true
}

// muchTime is more than anybody plans for.
const muchTime = 365 * 24 * time.Hour

// bridges says how long an outage the storage outlasts before it deletes what was
// not delivered, at so many bytes a second.
func bridges(st agent.StorageStatus, perSecond float64, known bool) string {
	switch {
	case !known:
		return "not known yet"
	case perSecond <= 0:
		return "any, as nothing is being written"
	}
	room := st.Bytes + max(0, st.FreeBytes-st.MinFreeBytes)
	if st.MaxBytes > 0 {
		room = min(room, st.MaxBytes)
	}
	seconds := float64(room) / perSecond
	if seconds > muchTime.Seconds() {
		return "more than a year"
	}
	return "about " + formatDuration(time.Duration(seconds*float64(time.Second)))
}
