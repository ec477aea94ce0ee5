package remotewrite

import (
	"net/http"
	"strconv"
	"strings"
)

// Class is what an answer means for the samples of a request.
type Class uint8

const (
	// Unanswered: no connection, a time-out, a connection that was cut off.
	Unanswered Class = iota
	// Acknowledged: 2xx.
	Acknowledged
	// Passing is trouble of the endpoint's own, which passes: 5xx and 429.
	// Upstream's queue retries these by itself, and nothing else that was
	// answered (storage/remote: Client.Store). 511 (a login is asked for, by
	// whoever runs the network) is among them for that reason alone.
	Passing
	// Held is what waiting can mend, while upstream's queue would give up: a
	// token that is replaced (401, 403), a tenant or a route that is made
	// minutes later (404, 405, 410), a redirect, 407, 408, 425, a 5xx in
	// disguise (409, by Opstrace's proxy), a receiver that does not take this
	// version of remote write and has looked at no sample (415), and every status
	// that is not known.
	Held
	// TooLarge: 413. A smaller request may be taken.
	TooLarge
	// Final: 400, 422. The samples are given up, if it was the receiver that
	// answered: see Refusal.Class.
	Final
	// NotHeld is what would be Held, of an endpoint whose refusals are not to be waited
	// for: see Endpoint.GiveUp.
	NotHeld
)

var classNames = [...]string{
	Unanswered: "unanswered", Acknowledged: "acknowledged", Passing: "passing",
	Held: "held", TooLarge: "too large", Final: "final", NotHeld: "not held",
}

func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return "Class(" + strconv.Itoa(int(c)) + ")"
}

// ClassOf returns the class of an HTTP status; 0 stands for no answer.
func ClassOf(status int) Class {
	switch {
	case status == 0:
		return Unanswered
	case status/100 == 2:
		return Acknowledged
	case status/100 == 5, status == http.StatusTooManyRequests:
		return Passing
	}
	switch status {
	case http.StatusRequestEntityTooLarge:
		return TooLarge
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return Final
	}
	return Held
}

// Kind names an episode of trouble in the log: "no answer", "HTTP 503".
func Kind(status int) string {
	if status == 0 {
		return "no answer"
	}
	return "HTTP " + strconv.Itoa(status)
}

// NotSent reports whether an error says that there was no request, because of a file of
// this host that it needs (prometheus/common: config.NewRoundTripperFromConfig).
func NotSent(words string) bool {
	return (strings.Contains(words, "unable to read") || strings.Contains(words, "unable to use")) && !strings.Contains(words, "HTTP status")
}

// MayHaveStored reports whether a request that got this answer may have been
// stored all the same: no answer came, or one by a proxy that gave up waiting,
// or by a Cortex of whose ingesters only some took it. words are those of the
// answer or of the error. Where there was no connection (a refused one, an
// unknown name, an untrusted certificate) there was no request either.
func MayHaveStored(status int, words string) bool {
	switch {
	case status == 0:
		return !NotSent(words) && !strings.Contains(words, "dial tcp") && !strings.Contains(words, "tls: failed to verify")
	case status == http.StatusConflict:
		// What Opstrace's proxy makes of a 500 by Cortex.
		return strings.Contains(words, "500-to-409")
	case status == http.StatusServiceUnavailable && strings.Contains(words, "429-to-503"):
		return false // nor does a limit of the rate store anything
	}
	return status >= 500
}

// OutOfOrder is the reason of what AlreadyThere tells, OutOfBounds that of OutOfWindow.
const (
	OutOfOrder  = "out_of_order"
	OutOfBounds = "out_of_bounds"
)

// Reason names a refusal in the ledger: out_of_bounds, out_of_order, http_400.
// words are the endpoint's own.
func Reason(status int, words string) string {
	switch {
	case OutOfWindow(words):
		return OutOfBounds
	case AlreadyThere(words):
		return OutOfOrder
	}
	return "http_" + strconv.Itoa(status)
}
