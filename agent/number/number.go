// Package number writes numbers as people read them, the same on the status
// page and in a terminal.
package number

import "strconv"

// Group groups the digits of n by three: 1,234,567.
func Group(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
