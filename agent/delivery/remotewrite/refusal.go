package remotewrite

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Refusal is an answer that is not an acknowledgement, or the lack of one.
type Refusal struct {
	Status     int           // HTTP status; 0 when there was no answer
	Body       string        // its first kilobyte, without white space around it
	Type       string        // Content-Type, where it is known
	Location   string        // of a redirect
	RetryAfter time.Duration // what the endpoint asks for, at most ten minutes; 0 if it does not
	Err        error         // when there was no answer, or one that contradicts its status
	V2         bool          // the request was one of remote write 2.0
	GiveUp     bool          // see Endpoint.GiveUp
	Again      bool          // an earlier attempt with the same samples may have been stored
}

// RefusalInWords reads what upstream's queue says of an attempt that failed
// (storage/remote: Client.Store); status is the HTTP status in it, 0 when there
// was no answer. The content type is not among the words.
func (e *Endpoint) RefusalInWords(status int, words string) *Refusal {
	if status == 0 {
		return &Refusal{Err: errors.New(words)}
	}
	_, body, _ := strings.Cut(words, ": ") // behind the status line
	return &Refusal{Status: status, Body: strings.TrimSpace(body), V2: e.V2, GiveUp: e.GiveUp}
}

func (r *Refusal) Error() string {
	switch {
	case r.Err != nil:
		return r.Err.Error()
	case r.Location != "":
		return fmt.Sprintf("server returned HTTP status %d %s to %s", r.Status, http.StatusText(r.Status), r.Location)
	}
	answer := fmt.Sprintf("HTTP status %d %s: %s", r.Status, http.StatusText(r.Status), WordsOf(r.Status, r.Type, r.Body))
	answer = strings.TrimSuffix(answer, ": ")
	switch {
	case r.inReceiversPlace():
		return "something in front of the receiver answers in its place: " + answer
	case r.Status == http.StatusUnsupportedMediaType && r.V2:
		return "this endpoint does not take remote write 2.0: server returned " + answer
	}
	return "server returned " + answer
}

func (r *Refusal) Unwrap() error { return r.Err }

// ThereBefore reports whether it is refused for what the endpoint has, and had before this
// request was made for the first time.
func (r *Refusal) ThereBefore() bool { return !r.Again && AlreadyThere(r.Body) }

// Class is what the refusal means for the samples of the request; never
// Acknowledged, whatever the status says, and never Final where the receiver
// has not spoken.
func (r *Refusal) Class() Class {
	c := ClassOf(r.Status)
	switch {
	case c == Held && r.GiveUp && r.Status/100 == 4 && !MayHaveStored(r.Status, r.Body):
		return NotHeld
	case c == Acknowledged || r.inReceiversPlace():
		return Held
	}
	return c
}

// TooFast reports whether the endpoint has had too much at once: a rate limit (429,
// which Opstrace's proxy disguises as 503), or one that is overloaded.
func (r *Refusal) TooFast() bool {
	return r.Status == http.StatusTooManyRequests || r.Status == http.StatusServiceUnavailable
}

// inReceiversPlace reports whether the status claims to be about the request,
// while whoever answered is not the receiver. Other statuses mean the same from
// anyone: a proxy's 413 and 502 are about the way, and are taken as such.
func (r *Refusal) inReceiversPlace() bool {
	if r.Status == http.StatusSwitchingProtocols {
		return true // no receiver of remote write speaks another one
	}
	c := ClassOf(r.Status)
	return (c == Final || c == Acknowledged) && r.Err == nil && InReceiversPlace(r.Type, r.Body)
}
