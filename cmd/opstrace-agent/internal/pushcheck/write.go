package pushcheck

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/prometheus/prometheus/storage/remote"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
	"github.com/opstrace/opstrace-agent/agent/number"
	"github.com/opstrace/opstrace-agent/agent/redact"
)

// maxAnswer is how much of an answer is read: enough for the title of a page.
const maxAnswer = 4 << 10

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	wrote  bool // the answer says that the request was understood, as 2.0 demands
}

// write posts a request without a single series, as the agent would post one,
// and judges what comes back.
func (c *check) write(ctx context.Context) bool {
	endpoint, _, err := remotewrite.NewEndpoint(c.rw, c.options.External)
	if err != nil {
		return c.fail(StepWrite, err.Error(), "the agent would refuse this configuration too")
	}
	c.v2 = endpoint.V2
	client, err := endpoint.Client()
	if err != nil {
		waits := "the agent would refuse a reload with this configuration; at a start it waits for the file"
		if hint := c.fileHint(err, ""); hint != "" {
			waits = hint + "; until then " + waits
		}
		return c.fail(StepWrite, err.Error(), waits)
	}
	if c.rw.HTTPClientConfig.OAuth2 != nil {
		// The other would ask the token endpoint for as long as that likes.
		if client, err = endpoint.PlainClient(ctx); err != nil {
			return c.fail(StepToken, redact.Line(err.Error(), 300), c.fileHint(err, "the server at token_url refuses client_id and client_secret, does not answer, or is not there"))
		}
	}
	defer client.CloseIdleConnections()
	conn := &connection{check: c}
	begun := time.Now()
	a, err := post(httptrace.WithClientTrace(ctx, conn.trace()), client, endpoint, nil)
	if err != nil {
		return c.explain(ctx, err, conn)
	}
	// An answer may come before the request counts as written: the server need
	// not have read it.
	written := conn.sent(begun)
	took := time.Since(written)
	if !c.compareClocks(a, written.Add(took/2)) || !c.judge(ctx, a, took) {
		return false
	}
	return !c.options.Sample || c.writeSample(ctx, client, endpoint)
}

// post sends one request with these items, and reads the answer. Its error is that
// of the client.
func post(ctx context.Context, client *http.Client, endpoint *remotewrite.Endpoint, items []remotewrite.Item) (*answer, error) {
	body, err := remotewrite.NewEncoder(false).Encode(endpoint.V2, items)
	if err != nil {
		return nil, err
	}
	req, err := endpoint.NewRequest(ctx, body, 0)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	// An answer that is cut short counts all the same, as for the agent: the status
	// was first.
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	stats, _ := remote.ParseWriteResponseStats(resp)
	return &answer{status: resp.StatusCode, header: resp.Header, body: string(text), wrote: stats.Confirmed}, nil
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
	text := fmt.Sprintf("%s %s the endpoint's", number.Duration(skew.Abs()), direction)
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
