package web

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/pulse"
)

const (
	// sampleInterval and historyLen make an hour.
	sampleInterval = 10 * time.Second
	historyLen     = 360
	// firstInterval is for a destination that has not been seen for a whole
	// interval: who looks at a new agent must not wait to see that it works.
	firstInterval = 2 * time.Second
	// A rate that is shown as a number is that of the last minute: most targets
	// are scraped less often than every sampleInterval.
	pointsOfRate = 6
	// maxTracks bounds the memory: a track is 9 KiB. Destinations beyond it
	// have no sparklines.
	maxTracks = 32
)

// point is what happened to a destination in one interval.
type point struct {
	at      int64   // its end, in Unix milliseconds
	in, out float32 // samples a second
	lost    float32 // samples
	backlog float32 // samples, at the end of the interval
}

// track is a ring of the last hour's points.
type track struct {
	seen                time.Time // of the counters below: the running interval's beginning
	appended, out, gone uint64
	points              [historyLen]point
	next, filled        int
	// running is the interval that is not over; it is shown as long as there is
	// no other.
	running point
	looked  time.Time // when the destination was there last
}

// history remembers the last hour of every destination, in memory only, and how
// fast the storage grows.
type history struct {
	mtx    sync.Mutex
	tracks map[string]*track // by the destination's name
	growth growth
}

func newHistory() *history { return &history{tracks: map[string]*track{}} }

// run looks at every interval until ctx ends.
func (h *history) run(ctx context.Context, status func() agent.Status) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		st := status()
		wait := pulse.Next(sampleInterval)
		h.takeStorage(time.Now(), st.Storage)
		if h.take(time.Now(), st.Destinations) {
			wait = pulse.Next(firstInterval)
		}
		timer.Reset(wait)
	}
}

// forgetAfter is how long a destination may be absent, as all are while the
// storage is opened anew, before its hour is dropped.
const forgetAfter = 5 * time.Minute

// take looks at every destination and adds its point when an interval is over. It
// reports whether the next look is due after firstInterval.
func (h *history) take(now time.Time, destinations []delivery.Status) (soon bool) {
	h.mtx.Lock()
	defer h.mtx.Unlock()
	for _, d := range destinations {
		t := h.tracks[d.Name]
		if t == nil && len(h.tracks) >= maxTracks {
			continue
		}
		l := d.Ledger
		if t == nil {
			h.tracks[d.Name] = &track{seen: now, looked: now, appended: l.Appended, out: l.Delivered, gone: lost(l)}
			soon = true
			continue
		}
		t.look(now, d)
		soon = soon || t.filled == 0
	}
	for name, t := range h.tracks {
		if now.Sub(t.looked) > forgetAfter {
			delete(h.tracks, name)
		}
	}
	return soon || len(destinations) == 0
}

// takeStorage looks at what is on disk.
func (h *history) takeStorage(now time.Time, st agent.StorageStatus) {
	h.mtx.Lock()
	defer h.mtx.Unlock()
	if st.Bytes > 0 { // else it is not open
		h.growth.look(now, st.Bytes)
	}
}

// storageGrowth in bytes a second; known tells whether it was seen for long enough.
func (h *history) storageGrowth() (perSecond float64, known bool) {
	h.mtx.Lock()
	defer h.mtx.Unlock()
	return h.growth.perSecond()
}

func (t *track) look(now time.Time, d delivery.Status) {
	t.looked = now
	seconds := now.Sub(t.seen).Seconds()
	if seconds <= 0 {
		return
	}
	l := d.Ledger
	gone := lost(l)
	t.running = point{
		at:      now.UnixMilli(),
		in:      float32(float64(increase(t.appended, l.Appended)) / seconds),
		out:     float32(float64(increase(t.out, l.Delivered)) / seconds),
		lost:    float32(increase(t.gone, gone)),
		backlog: float32(d.BacklogSamples),
	}
	if now.Sub(t.seen) < sampleInterval-firstInterval/2 { // timers are not exact
		return
	}
	t.points[t.next] = t.running
	t.next = (t.next + 1) % historyLen
	t.filled = min(t.filled+1, historyLen)
	t.seen, t.appended, t.out, t.gone = now, l.Appended, l.Delivered, gone
}

// all points in order, or the running one if there is no other.
func (t *track) all() []point {
	if t.filled == 0 && t.running.at > 0 {
		return []point{t.running}
	}
	points := make([]point, 0, t.filled)
	for i := range t.filled {
		points = append(points, t.points[(t.next-t.filled+i+historyLen)%historyLen])
	}
	return points
}

// increase of a counter that begins anew when a destination comes back.
func increase(from, to uint64) uint64 {
	if to < from {
		return 0
	}
	return to - from
}

// lost are samples that will not arrive, or may not have, beside those that the
// configuration keeps back. A live destination's refusal for the
// time of a sample counts as uncertain: which of the request it meant is not known.
func lost(l ledger.Terms) uint64 {
	return l.Evicted + l.Lost + l.NotAppended + sum(l.Refused) + sum(l.Uncertain)
}

func sum(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

// lastHour is what the page shows of a destination's track.
type lastHour struct {
	In, Out, Backlog sparkline
	Lost             uint64
	Since            time.Time // the left edge of the curves; zero if there is none
}

// curve is a sparkline with its words.
type curve struct {
	sparkline
	Name, Class, Most string
	Last              string // empty where another place says it
	Since             time.Time
}

// Curves are for the template.
func (h lastHour) Curves() []curve {
	backlog := h.curve("Waiting on disk", "backlog", h.Backlog, formatCount[float64])
	// What waits now is said above the curve; what waited some seconds ago, beside it,
	// would contradict.
	backlog.Last = ""
	return []curve{h.curve("Samples in", "in", h.In, formatRate), h.curve("Delivered", "out", h.Out, formatRate), backlog}
}

func (h lastHour) curve(name, class string, s sparkline, format func(float64) string) curve {
	c := curve{sparkline: s, Name: name, Class: class, Last: "–", Most: "not known yet", Since: h.Since}
	if s.Line != "" {
		c.Last, c.Most = format(s.Now), "most "+format(s.Peak)
	}
	return c
}

// lastHour of a destination for which backlog samples wait now.
func (h *history) lastHour(now time.Time, destination string, backlog uint64) lastHour {
	h.mtx.Lock()
	defer h.mtx.Unlock()
	t := h.tracks[destination]
	if t == nil {
		return lastHour{}
	}
	points := t.all()
	if len(points) == 0 {
		return lastHour{}
	}
	var gone float64
	for _, p := range points {
		gone += float64(p.lost)
	}
	in := func(p point) float32 { return p.in }
	out := func(p point) float32 { return p.out }
	hour := lastHour{
		In:      newSparkline(points, rate(points, in), in),
		Out:     newSparkline(points, rate(points, out), out),
		Backlog: waiting(points, now, backlog),
		Lost:    uint64(gone),
	}
	if len(points) > 1 {
		hour.Since = time.UnixMilli(points[0].at)
	}
	return hour
}

// waiting is what waited at the end of each interval and what does now: the most of it
// is never less than what is said to wait.
func waiting(points []point, now time.Time, backlog uint64) sparkline {
	last := point{at: now.UnixMilli(), backlog: float32(backlog)}
	points = append(slices.Clip(points), last)
	points = points[max(0, len(points)-historyLen):]
	return newSparkline(points, float64(backlog), func(p point) float32 { return p.backlog })
}

// rate of the last minute, or of what there is.
func rate(points []point, value func(point) float32) (mean float64) {
	recent := points[max(0, len(points)-pointsOfRate):]
	for _, p := range recent {
		mean += float64(value(p)) / float64(len(recent))
	}
	return mean
}
