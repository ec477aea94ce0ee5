// Package human writes sizes, times and other people's words for a terminal.
package human

import (
	"time"

	"github.com/opstrace/opstrace-agent/agent/number"
	"github.com/opstrace/opstrace-agent/agent/redact"
)

// Duration is number.Duration.
func Duration(d time.Duration) string { return number.Duration(d) }

// Bytes is number.Bytes.
func Bytes(n int64) string { return number.Bytes(n) }

// Count is a number of things, as in "1 target" and "1,200 targets".
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return number.Group(uint64(n)) + " " + thing + "s"
}

// Line is redact.Line.
func Line(s string, limit int) string { return redact.Line(s, limit) }
