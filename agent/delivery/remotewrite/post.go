package remotewrite

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

// NewRequest returns the POST of an encoded body. Its headers are those of
// upstream's Client.Store; attempt counts from 0. An error is that of a URL
// that does not parse.
func (e *Endpoint) NewRequest(ctx context.Context, body []byte, attempt int) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.Config.URL.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("cannot build a request: %w", err)
	}
	req.Header.Set("Content-Encoding", string(remoteapi.SnappyBlockCompression))
	req.Header.Set("User-Agent", remote.UserAgent)
	if e.V2 {
		req.Header.Set("Content-Type", "application/x-protobuf;proto="+string(remoteapi.WriteV2MessageType))
		req.Header.Set(remote.RemoteWriteVersionHeader, remote.RemoteWriteVersion20HeaderValue)
	} else {
		req.Header.Set("Content-Type", "application/x-protobuf")
		req.Header.Set(remote.RemoteWriteVersionHeader, remote.RemoteWriteVersion1HeaderValue)
	}
	if attempt > 0 {
		req.Header.Set("Retry-Attempt", strconv.Itoa(attempt))
	}
	return req, nil
}

// Post sends one encoded request, within remote_timeout. Nil means that it was
// acknowledged; what was answered else is in a *Refusal, and any other error is
// of a request that cannot be sent at all. Upstream's Client.Store is not used
// because its errors do not carry the status and Retry-After.
func (e *Endpoint) Post(ctx context.Context, body []byte, attempt int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(e.Config.RemoteTimeout))
	defer cancel()
	// An endpoint may answer before it has been sent everything, as proxies do that
	// refuse: the body is then still read when this returns, and its buffer is the
	// caller's.
	req, err := e.NewRequest(ctx, bytes.Clone(body), attempt)
	if err != nil {
		return err
	}
	client, err := e.PlainClient(ctx)
	if err != nil {
		return &Refusal{Err: err}
	}
	resp, err := client.Do(req)
	if err != nil {
		return &Refusal{Err: err}
	}
	defer func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // keeps the connection usable
		resp.Body.Close()
	}()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	r := &Refusal{
		Status:     resp.StatusCode,
		Body:       strings.TrimSpace(string(answer)),
		Type:       resp.Header.Get("Content-Type"),
		RetryAfter: retryAfter(resp.Header.Get("Retry-After")),
		V2:         e.V2,
		GiveUp:     e.GiveUp,
	}
	if r.Status/100 == 2 {
		return e.acknowledged(resp, r)
	}
	r.Location = resp.Header.Get("Location")
	return r
}

// maxAnswer is how much of an endpoint's error is kept, in bytes: enough for
// Cortex' sentences, and for the first lines of a proxy's page.
const maxAnswer = 1024

// ErrNothingWritten is a 2xx that is no acknowledgement.
var ErrNothingWritten = errors.New("the endpoint answered 2xx to a remote write 2.0 request without saying that it wrote anything: it speaks 1.0 only; remove protobuf_message from the remote_write entry")

// acknowledged checks what a 2xx means: a page has taken nothing, and an endpoint
// that does not know remote write 2.0 may answer 200 and store nothing (spec 2.0,
// "Required Written Response Headers").
func (e *Endpoint) acknowledged(resp *http.Response, r *Refusal) error {
	if r.Body != "" && r.inReceiversPlace() {
		return r
	}
	if !e.V2 {
		return nil
	}
	if stats, _ := remote.ParseWriteResponseStats(resp); stats.NoDataWritten() {
		return &Refusal{Status: resp.StatusCode, Err: ErrNothingWritten}
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
