// Package number writes numbers as people read them, the same on the status
// page and in a terminal.
package number

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Group groups the digits of n by three: 1,234,567.
func Group(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Duration rounds to the largest unit of which there are at least two, from
// days to seconds; between one second and two it has a tenth, and below milliseconds.
func Duration(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if d >= 2*u.unit {
			return fmt.Sprintf("%d %s", d.Round(u.unit)/u.unit, u.name)
		}
	}
	if d = d.Round(time.Millisecond); d >= time.Second {
		return tenths(d.Seconds()) + " s"
	}
	return fmt.Sprintf("%d ms", d/time.Millisecond)
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
	return tenths(f) + " " + []string{"KiB", "MiB", "GiB", "TiB"}[i]
}

// tenths has a digit behind the point, unless that is 0.
func tenths(f float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
}

// Count is a number of things, as in "1 target" and "1,200 targets".
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return Group(uint64(n)) + " " + thing + "s"
}
