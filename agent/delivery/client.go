package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/prometheus/storage/remote"
)

// maxAnswer is how much of an endpoint's error is kept: enough for Cortex'
// sentences, and for the first lines of a proxy's page.
const maxAnswer = 1024

// refusal is an answer that is not an acknowledgement.
type refusal struct {
	status     int // HTTP status; 0 when there was no answer
	body       string
	location   string // of a redirect
	retryAfter time.Duration
	err        error // when there was no answer
}

func (r *refusal) Error() string {
	switch {
	case r.err != nil:
		return r.err.Error()
	case r.location != "":
		return fmt.Sprintf("server returned HTTP status %d %s to %s (redirects are not followed: set the url to where it points)", r.status, http.StatusText(r.status), r.location)
	}
	return fmt.Sprintf("server returned HTTP status %d %s: %s", r.status, http.StatusText(r.status), r.body)
}

func (r *refusal) Unwrap() error { return r.err }

// final tells whether waiting cannot mend an answer: the samples are given up.
func final(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// post sends one encoded request and returns a *refusal unless it was
// acknowledged. Headers are those of upstream's Client.Store, whose errors do
// not carry what is needed here: the status and Retry-After.
func (e *endpoint) post(ctx context.Context, body []byte, attempt int) error {
	req, err := http.NewRequest(http.MethodPost, e.cfg.URL.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("cannot build a request: %w", err)
	}
	req.Header.Set("Content-Encoding", string(remoteapi.SnappyBlockCompression))
	req.Header.Set("User-Agent", remote.UserAgent)
	if e.v2 {
		req.Header.Set("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
		req.Header.Set(remote.RemoteWriteVersionHeader, remote.RemoteWriteVersion20HeaderValue)
	} else {
		req.Header.Set("Content-Type", "application/x-protobuf")
		req.Header.Set(remote.RemoteWriteVersionHeader, remote.RemoteWriteVersion1HeaderValue)
	}
	if attempt > 0 {
		req.Header.Set("Retry-Attempt", strconv.Itoa(attempt))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(e.cfg.RemoteTimeout))
	defer cancel()
	resp, err := e.client.Do(req.WithContext(ctx))
	if err != nil {
		return &refusal{err: err}
	}
	defer func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // keeps the connection usable
		resp.Body.Close()
	}()
	if resp.StatusCode/100 == 2 {
		return e.acknowledged(resp)
	}
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return &refusal{
		status:     resp.StatusCode,
		body:       strings.TrimSpace(string(answer)),
		location:   resp.Header.Get("Location"),
		retryAfter: retryAfter(resp.Header.Get("Retry-After")),
	}
}

var errNothingWritten = errors.New("the endpoint answered 2xx to a remote write 2.0 request without saying that it wrote anything: it speaks 1.0 only; remove protobuf_message from the remote_write entry")

// acknowledged checks what a 2xx means: an endpoint that does not know remote
// write 2.0 may answer 200 and store nothing (spec 2.0, "Required Written
// Response Headers").
func (e *endpoint) acknowledged(resp *http.Response) error {
	if !e.v2 {
		return nil
	}
	if stats, _ := remote.ParseWriteResponseStats(resp); stats.NoDataWritten() {
		return &refusal{status: resp.StatusCode, err: errNothingWritten}
	}
	return nil
}

// longestRetryAfter bounds what an endpoint may ask for: a date is worth as much
// as the clocks on both sides.
const longestRetryAfter = 10 * time.Minute

// retryAfter reads a Retry-After header: seconds or a date (RFC 9110, 10.2.3).
func retryAfter(v string) time.Duration {
	if s, err := strconv.Atoi(v); err == nil && s > 0 {
		return time.Duration(min(s, int(longestRetryAfter/time.Second))) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(longestRetryAfter, max(0, time.Until(t)))
	}
	return 0
}

// alreadyThere tells whether an endpoint refuses samples because it has these
// or newer ones (Cortex, Mimir, Thanos, Prometheus).
func alreadyThere(body string) bool {
	body = strings.ToLower(body)
	return strings.Contains(body, "out of order") || strings.Contains(body, "out-of-order") ||
		strings.Contains(body, "duplicate sample") || strings.Contains(body, "err-mimir-sample-duplicate-timestamp")
}

// outOfWindow tells whether an endpoint refuses samples because of their age.
func outOfWindow(body string) bool {
	body = strings.ToLower(body)
	return strings.Contains(body, "out of bounds") || strings.Contains(body, "too old") ||
		strings.Contains(body, "too new") || strings.Contains(body, "too far in")
}
