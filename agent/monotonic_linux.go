package agent

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonic returns a clock that cannot be set, by the host's own: a time.Time of the
// years after 2157 has no reading of it (package time, "Monotonic Clocks"), and a clock
// that began there and is set right would not be seen to be.
func monotonic() func() time.Duration {
	return func() time.Duration {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
			panic(err) // no kernel is without it
		}
		return time.Duration(t.Nano())
	}
}
