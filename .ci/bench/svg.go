package main

import (
	"fmt"
	"html"
	"strings"
)

// The measures of the picture, in pixels.
const (
	textWidth  = 330
	barsWidth  = 420
	barHeight  = 11
	barGap     = 8
	headHeight = 46
	maxRatio   = 1.5 // where bars are cut off
)

// colours of the programs, the same whoever is left out.
var colours = map[string]string{agent: "#2b6cb0", lean: "#718096", standard: "#a0aec0", vmagent: "#dd6b20"}

// svg is a picture of the ratios to prometheus without discoveries that have a goal,
// with the goal as a mark.
func (r *report) svg() string {
	var body strings.Builder
	y := headHeight
	for _, g := range goals {
		if !g.relative || g.to != "" {
			continue
		}
		if height := r.bars(&body, g, y); height > 0 {
			y += height + barGap
		}
	}
	var b strings.Builder
	width := textWidth + barsWidth + 60
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", width, y+10)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, y+10)
	b.WriteString(`<text x="8" y="16" font-size="13">prometheus --agent without discoveries (P) is 1; less is better; red: the goal of the agent</text>` + "\n")
	for i, p := range r.peers {
		x := 8 + i*150
		fmt.Fprintf(&b, `<rect x="%d" y="25" width="10" height="10" fill="%s"/><text x="%d" y="34">%s</text>`+"\n", x, colours[p.name], x+14, html.EscapeString(p.name))
	}
	one := textWidth + int(barsWidth/maxRatio)
	fmt.Fprintf(&b, `<line x1="%d" x2="%[1]d" y1="%d" y2="%d" stroke="#cbd5e0"/>`+"\n", one, headHeight-4, y)
	b.WriteString(body.String())
	b.WriteString("</svg>\n")
	return b.String()
}

// bars draws those of one goal from y on and returns their height, 0 if there are none.
func (r *report) bars(b *strings.Builder, g goal, y int) int {
	height := 0
	for _, p := range r.peers {
		ratio, ok := r.results.ratio(g.scenario, p.name, g.measurand)
		if !ok {
			continue
		}
		width := int(min(ratio, maxRatio) / maxRatio * barsWidth)
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`, textWidth, y+height, width, barHeight-1, colours[p.name])
		fmt.Fprintf(b, `<text x="%d" y="%d" font-size="9">%.2f</text>`+"\n", textWidth+width+4, y+height+barHeight-2, ratio)
		height += barHeight
	}
	if height == 0 {
		return 0
	}
	x := textWidth + int(g.bound/maxRatio*barsWidth)
	fmt.Fprintf(b, `<line x1="%d" x2="%[1]d" y1="%d" y2="%d" stroke="#e53e3e" stroke-width="2"/>`, x, y-2, y+height)
	fmt.Fprintf(b, `<text x="8" y="%d">%s</text>`+"\n", y+height/2+4, html.EscapeString(g.scenario+": "+string(g.measurand)))
	return height
}
