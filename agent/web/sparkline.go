package web

import (
	"fmt"
	"strings"
)

const (
	// sparkWidth is also the number of values that are drawn at most.
	sparkWidth  = 120
	sparkHeight = 32
)

// sparkline is a curve in a box of sparkWidth by sparkHeight. Its left edge is the
// first point there is and its right edge the newest one, whatever lies between.
type sparkline struct {
	Now, Peak float64
	Line      string // points of an SVG polyline; empty without data
	Area      string // points of the polygon below it
}

// newSparkline draws, where there are more points than places, the highest of each
// group, so that a short peak is seen. now is what is written beside it.
func newSparkline(points []point, now float64, value func(point) float32) sparkline {
	if len(points) == 0 {
		return sparkline{}
	}
	s := sparkline{Now: now}
	for _, p := range points {
		s.Peak = max(s.Peak, float64(value(p)))
	}
	var drawn []point // with the highest value of a group as its in
	per := (len(points) + sparkWidth - 1) / sparkWidth
	// Groups end at the newest point.
	for end := (len(points)-1)%per + 1; end <= len(points); end += per {
		p := point{at: points[end-1].at}
		for _, q := range points[max(0, end-per):end] {
			p.in = max(p.in, value(q))
		}
		drawn = append(drawn, p)
	}
	if len(drawn) == 1 { // one point has no length
		drawn = append(drawn, drawn[0])
		drawn[1].at++
	}
	var line strings.Builder
	from, span := drawn[0].at, max(1, drawn[len(drawn)-1].at-drawn[0].at)
	for i, p := range drawn {
		if i > 0 {
			line.WriteByte(' ')
		}
		y := float64(sparkHeight - 1)
		if s.Peak > 0 {
			y -= float64(p.in) / s.Peak * (sparkHeight - 3)
		}
		fmt.Fprintf(&line, "%.1f,%.1f", float64(p.at-from)/float64(span)*sparkWidth, y)
	}
	s.Line = line.String()
	s.Area = fmt.Sprintf("0,%d %s %d,%d", sparkHeight, s.Line, sparkWidth, sparkHeight)
	return s
}
