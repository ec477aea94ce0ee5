package web

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

const (
	// sampleInterval and historyLen make an hour.
	sampleInterval = 10 * time.Second
	historyLen     = 360
	// maxTracks bounds the memory: a track is 6 KiB. Destinations beyond it
	// have no sparklines.
	maxTracks = 32
)

// point is what happened to a destination in one interval.
type point struct {
	in, out float32 // samples a second
	lost    float32 // samples
	backlog float32 // samples, at the end of the interval
}

// track is a ring of the last hour's points.
type track struct {
	seen                 time.Time // of the counters below
	appended, out, gone  uint64
	points               [historyLen]point
	next, filled, unseen int
}

// history remembers the last hour of every destination, in memory only.
type history struct {
	mtx    sync.Mutex
	tracks map[string]*track // by the destination's name
}

func newHistory() *history { return &history{tracks: map[string]*track{}} }

// run takes a point at every interval until ctx ends.
func (h *history) run(ctx context.Context, status func() agent.Status) {
	tick := time.NewTicker(sampleInterval)
	defer tick.Stop()
	h.take(time.Now(), status().Destinations)
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			h.take(now, status().Destinations)
		}
	}
}

// forgetAfter is for how many intervals a destination may be absent, as all are
// while the storage is opened anew, before its hour is dropped.
const forgetAfter = 30

// take adds a point for every destination.
func (h *history) take(now time.Time, destinations []delivery.Status) {
	h.mtx.Lock()
	defer h.mtx.Unlock()
	for name, t := range h.tracks {
		if t.unseen++; t.unseen > forgetAfter {
			delete(h.tracks, name)
		}
	}
	for _, d := range destinations {
		t := h.tracks[d.Name]
		if t == nil && len(h.tracks) >= maxTracks {
			continue
		}
		l := d.Ledger
		gone := lost(l)
		if t == nil {
			h.tracks[d.Name] = &track{seen: now, appended: l.Appended, out: l.Delivered, gone: gone}
			continue
		}
		seconds := now.Sub(t.seen).Seconds()
		if seconds <= 0 {
			continue
		}
		t.points[t.next] = point{
			in:      float32(float64(increase(t.appended, l.Appended)) / seconds),
			out:     float32(float64(increase(t.out, l.Delivered)) / seconds),
			lost:    float32(increase(t.gone, gone)),
			backlog: float32(d.BacklogSamples),
		}
		t.next = (t.next + 1) % historyLen
		t.filled = min(t.filled+1, historyLen)
		t.seen, t.appended, t.out, t.gone, t.unseen = now, l.Appended, l.Delivered, gone, 0
	}
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
}

// curve is a sparkline with its words.
type curve struct {
	sparkline
	Name, Class, Last, Most string
}

// Curves are for the template.
func (h lastHour) Curves() []curve {
	return []curve{
		newCurve("Samples in", "in", h.In, formatRate),
		newCurve("Delivered", "out", h.Out, formatRate),
		newCurve("Waiting on disk", "backlog", h.Backlog, formatCount[float64]),
	}
}

func newCurve(name, class string, s sparkline, format func(float64) string) curve {
	c := curve{sparkline: s, Name: name, Class: class, Last: "–", Most: "not known yet"}
	if s.Line != "" {
		c.Last, c.Most = format(s.Now), "most "+format(s.Peak)
	}
	return c
}

func (h *history) lastHour(destination string) lastHour {
	h.mtx.Lock()
	defer h.mtx.Unlock()
	t := h.tracks[destination]
	if t == nil {
		return lastHour{}
	}
	points := make([]point, 0, t.filled)
	var gone float64
	for i := range t.filled {
		p := t.points[(t.next-t.filled+i+historyLen)%historyLen]
		points = append(points, p)
		gone += float64(p.lost)
	}
	return lastHour{
		In:      newSparkline(points, func(p point) float32 { return p.in }),
		Out:     newSparkline(points, func(p point) float32 { return p.out }),
		Backlog: newSparkline(points, func(p point) float32 { return p.backlog }),
		Lost:    uint64(gone),
	}
}

const (
	sparkWidth  = 120 // points: three samples, or 30 s, each
	sparkHeight = 32
	perPoint    = historyLen / sparkWidth
)

// sparkline is a curve in a box of sparkWidth by sparkHeight; the right edge is now.
type sparkline struct {
	Now, Peak float64
	Line      string // points of an SVG polyline; empty without data
	Area      string // points of the polygon below it
}

// newSparkline draws the highest of every three values, so that a short peak
// is seen.
func newSparkline(points []point, value func(point) float32) sparkline {
	if len(points) == 0 {
		return sparkline{}
	}
	s := sparkline{Now: float64(value(points[len(points)-1]))}
	for _, p := range points {
		s.Peak = max(s.Peak, float64(value(p)))
	}
	var line strings.Builder
	first := -1
	for x := range sparkWidth {
		// Counted from the newest point, so that a group keeps its members'
		// distance to the right edge.
		end := len(points) - (sparkWidth-1-x)*perPoint
		if end <= 0 {
			continue
		}
		v := float64(0)
		for _, p := range points[max(0, end-perPoint):end] {
			v = max(v, float64(value(p)))
		}
		if first < 0 {
			first = x
		} else {
			line.WriteByte(' ')
		}
		y := float64(sparkHeight - 1)
		if s.Peak > 0 {
			y -= v / s.Peak * (sparkHeight - 3)
		}
		fmt.Fprintf(&line, "%d,%.1f", x, y)
	}
	s.Line = line.String()
	if first == sparkWidth-1 { // one point has no length: draw a dash
		s.Line += " " + strings.Replace(s.Line, fmt.Sprint(first), fmt.Sprint(first+1), 1)
	}
	s.Area = fmt.Sprintf("%d,%d %s %d,%d", first, sparkHeight, s.Line, sparkWidth-1, sparkHeight)
	return s
}
