package remotewrite

import (
	"fmt"
	"net/http"
	"time"
)

// Refusal is an answer that is not an acknowledgement, or the lack of one.
type Refusal struct {
	Status     int           // HTTP status; 0 when there was no answer
	Body       string        // its first kilobyte, without white space around it
	Location   string        // of a redirect
	RetryAfter time.Duration // what the endpoint asks for, at most ten minutes; 0 if it does not
	Err        error         // when there was no answer, or one that contradicts its status
}

func (r *Refusal) Error() string {
	switch {
	case r.Err != nil:
		return r.Err.Error()
	case r.Location != "":
		return fmt.Sprintf("server returned HTTP status %d %s to %s (redirects are not followed: set the url to where it points)", r.Status, http.StatusText(r.Status), r.Location)
	}
	return fmt.Sprintf("server returned HTTP status %d %s: %s", r.Status, http.StatusText(r.Status), r.Body)
}

func (r *Refusal) Unwrap() error { return r.Err }

// Class is what the refusal means for the samples of the request; never
// Acknowledged, whatever the status says.
func (r *Refusal) Class() Class {
	if c := ClassOf(r.Status); c != Acknowledged {
		return c
	}
	return Held
}
