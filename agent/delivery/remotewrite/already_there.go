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

// AboutSeries reports whether an endpoint refuses a series for what it is, in the
// words of Cortex, Mimir and Prometheus: for its labels, or because there are too
// many series. It refuses the next sample for the same, until somebody changes
// something there. Words that are about one sample are none of these.
func AboutSeries(words string) bool {
	return !AlreadyThere(words) && !OutOfWindow(words) && containsAny(words,
		"metric name", "invalid label", "too many labels", "label name too long", "label value too long",
		"duplicate label", "labels not sorted", "label name length exceeds", "label value length exceeds",
		"number of labels exceeds", "series limit")
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
