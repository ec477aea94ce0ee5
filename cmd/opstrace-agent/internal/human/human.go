// Package human writes sizes, times and other people's words for a terminal.
package human

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/opstrace/opstrace-agent/agent/number"
)

// Duration rounds to the largest unit of which there are at least two, from
// days to milliseconds.
func Duration(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if d >= 2*u.unit {
			return fmt.Sprintf("%d %s", d.Round(u.unit)/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond)/time.Millisecond)
}

// Bytes in binary units.
func Bytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1023.95 && i < 3 { // rounded, it would read 1024.0
		f /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %s", f, []string{"KiB", "MiB", "GiB", "TiB"}[i])
}

// Count is a number of things, as in "1 target" and "1,200 targets".
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return number.Group(uint64(n)) + " " + thing + "s"
}

// Line makes one line of what somebody else wrote, at most limit characters of
// it. An endpoint, or whatever answers in its place, could otherwise move the
// cursor, set colours or fill the screen with a page of HTML.
func Line(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return unicode.ReplacementChar
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit-1]) + "…"
	}
	return s
}
