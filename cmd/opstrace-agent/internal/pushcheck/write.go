package pushcheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/human"
)

// client is upstream's, as the agent uses it.
func (c *check) client() (*http.Client, error) {
	settings := c.rw.HTTPClientConfig
	// The agent follows none: a redirect would carry the token to wherever it points.
	settings.FollowRedirects = false
	w, err := remote.NewWriteClient(c.rw.Name, &remote.ClientConfig{
		URL:              c.rw.URL,
		Timeout:          c.rw.RemoteTimeout,
		HTTPClientConfig: settings,
		SigV4Config:      c.rw.SigV4Config,
		AzureADConfig:    c.rw.AzureADConfig,
		GoogleIAMConfig:  c.rw.GoogleIAMConfig,
		Headers:          c.rw.Headers,
		WriteProtoMsg:    c.rw.ProtobufMessage,
		RoundRobinDNS:    c.rw.RoundRobinDNS,
	})
	if err != nil {
		return nil, err
	}
	client, ok := w.(*remote.Client)
	if !ok {
		return nil, errors.New("upstream's write client is of an unknown type")
	}
	return client.Client, nil
}

func (c *check) v2() bool { return c.rw.ProtobufMessage == remoteapi.WriteV2MessageType }

// request is a write request without a single series.
func (c *check) request(ctx context.Context) (*http.Request, error) {
	// Version 1.0: an empty message has no bytes, and upstream's encoder leaves
	// those alone. What snappy makes of them is their number.
	body, contentType, version := []byte{0}, "application/x-protobuf", remote.RemoteWriteVersion1HeaderValue
	if c.v2() {
		symbols := writev2.NewSymbolTable()
		message, err := (&writev2.Request{Symbols: symbols.Symbols()}).Marshal()
		if err != nil {
			return nil, err
		}
		if body, err = compression.Encode(compression.Snappy, message, nil); err != nil {
			return nil, err
		}
		contentType, version = contentType+";proto="+string(remoteapi.WriteV2MessageType), remote.RemoteWriteVersion20HeaderValue
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.rw.URL.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Encoding", string(remoteapi.SnappyBlockCompression))
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", remote.UserAgent)
	req.Header.Set(remote.RemoteWriteVersionHeader, version)
	return req, nil
}

// maxAnswer is how much of an answer is read: enough for the title of a page.
const maxAnswer = 4 << 10

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	wrote  bool // the answer says that the request was understood, as 2.0 demands
}

// write posts the empty request and judges what comes back.
func (c *check) write(ctx context.Context) bool {
	client, err := c.client()
	if err != nil {
		return c.fail(StepWrite, err.Error(), "the agent would refuse this configuration too")
	}
	defer client.CloseIdleConnections()
	conn := &connection{check: c}
	req, err := c.request(httptrace.WithClientTrace(ctx, conn.trace()))
	if err != nil {
		return c.fail(StepWrite, err.Error(), "")
	}
	resp, err := client.Do(req)
	if err != nil {
		return c.explain(err, conn)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return c.explain(err, conn)
	}
	written := conn.sent()
	took := time.Since(written)
	stats, _ := remote.ParseWriteResponseStats(resp)
	a := &answer{status: resp.StatusCode, header: resp.Header, body: string(body), wrote: stats.Confirmed}
	return c.compareClocks(a, written.Add(took/2)) && c.judge(a, took)
}

// Limits of the clock: an endpoint refuses samples from further ahead or from
// longer ago.
const (
	maxAhead  = 10 * time.Minute
	maxBehind = time.Hour
	maxSkew   = 30 * time.Second // worth a note
)

// compareClocks compares with the endpoint's Date header, which has a
// resolution of a second.
func (c *check) compareClocks(a *answer, now time.Time) bool {
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return true
	}
	skew := now.Sub(date)
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	text := fmt.Sprintf("%s %s the endpoint's", human.Duration(skew.Abs()), direction)
	const hint = "set this host's clock, best by NTP"
	switch {
	case skew > maxAhead:
		return c.fail(StepClock, text+": samples would be refused as too new", hint)
	case -skew > maxBehind:
		return c.fail(StepClock, text+": samples would be refused as out of bounds", hint)
	case skew.Abs() > maxSkew:
		c.note(StepClock, text, hint)
	default:
		c.ok(StepClock, "agrees with the endpoint's", 0)
	}
	return true
}
