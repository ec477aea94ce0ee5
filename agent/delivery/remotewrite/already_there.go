package remotewrite

import "strings"

// AlreadyThere reports whether an endpoint refuses samples because it has these
// or newer ones of the series, in the words of Cortex, Mimir, Thanos and
// Prometheus. It means that they are there only where they may have been sent
// before; everywhere else it is a loss.
func AlreadyThere(words string) bool {
	return containsAny(words, "out of order", "out-of-order", "duplicate sample", "err-mimir-sample-duplicate-timestamp")
}

// OutOfWindow reports whether an endpoint refuses samples because of their age,
// or because they lie in the future.
func OutOfWindow(words string) bool {
	return containsAny(words, "out of bounds", "too old", "too new", "too far in")
}

func containsAny(words string, phrases ...string) bool {
	words = strings.ToLower(words)
	for _, p := range phrases {
		if strings.Contains(words, p) {
			return true
		}
	}
	return false
}
