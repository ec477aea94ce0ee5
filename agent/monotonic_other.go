//go:build !linux

package agent

import "time"

// monotonic returns a clock that cannot be set.
func monotonic() func() time.Duration {
	begun := time.Now()
	return func() time.Duration { return time.Since(begun) }
}
