package pushcheck

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage/remote"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/human"
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
	endpoint, _, err := remotewrite.NewEndpoint(c.rw, labels.EmptyLabels())
	if err != nil {
		return c.fail(StepWrite, err.Error(), "the agent would refuse this configuration too")
	}
	c.v2 = endpoint.V2
	client, err := endpoint.Client()
	if err != nil {
		return c.fail(StepWrite, err.Error(), "the agent would refuse a reload with this configuration; at a start it waits for the file")
	}
	defer client.CloseIdleConnections()
	empty, err := remotewrite.NewEncoder(false).Encode(endpoint.V2, nil)
	if err != nil {
		return c.fail(StepWrite, err.Error(), "")
	}
	conn := &connection{check: c}
	req, err := endpoint.NewRequest(httptrace.WithClientTrace(ctx, conn.trace()), empty, 0)
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
