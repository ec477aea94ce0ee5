package agent_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// mendable are answers after which waiting helps.
func mendable() map[string]agenttest.Answer {
	location := http.Header{"Location": {"https://127.0.0.1:1/login"}}
	page := http.Header{"Content-Type": {"text/html"}}
	return map[string]agenttest.Answer{
		"401":   {Status: 401, Body: "bad authentication token\n"},
		"403":   {Status: 403, Body: "forbidden\n"},
		"400":   agenttest.NginxError(400),
		"413":   agenttest.NginxError(413),
		"415":   {Status: 415, Body: "unsupported media type\n"},
		"422":   {Status: 422, Body: "<!DOCTYPE html><title>Blocked</title>", Header: page},
		"404":   {Status: 404, Body: "not found\n"},
		"302":   {Status: 302, Header: location},
		"308":   {Status: 308, Header: location},
		"409":   agenttest.EmptyRing(),
		"503":   {Status: 503, Body: "429-to-503: ingestion rate limit (100000) exceeded\n"},
		"511":   {Status: 511, Body: "<html>please log in</html>"},
		"429":   {Status: 429, Body: "slow down\n", Header: http.Header{"Retry-After": {"1"}}},
		"reset": {Reset: true},
	}
}

// TestMendableRefusals: whatever the endpoint says for a while, or for exactly
// one batch, nothing is lost and nothing overtaken.
func TestMendableRefusals(t *testing.T) {
	t.Parallel()
	for name, answer := range mendable() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			one := r.targets.Add("one", agenttest.TargetOptions{Series: 20})
			r.start()
			r.awaitState("one", delivery.Live)
			r.awaitScrapes(one, 5)

			r.endpoint.RespondNext(answer) // exactly one batch
			r.awaitScrapes(one, 10)
			r.awaitState("one", delivery.Live)

			r.endpoint.Respond(answer) // a while
			r.awaitScrapes(one, 20)
			r.eventually("the error to be shown", func() error {
				if s := r.destination("one"); s.LastError == "" {
					return fmt.Errorf("no error shown: %+v", s)
				}
				return nil
			})
			r.endpoint.Recover()
			r.awaitScrapes(one, 5)
			r.awaitAll(r.endpoint, one)
			r.awaitState("one", delivery.Live)
			r.targets.Remove(one)
			r.awaitLedger("one", r.endpoint)
		})
	}
}

// TestUntrustedCertificate: a TLS error is mendable.
func TestUntrustedCertificate(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 5})
	ca := writeFile(t, r.dir, "ca.pem", r.endpoint.CA())
	r.writes = strings.Replace(r.writes, "insecure_skip_verify: true", "ca_file: "+ca, 1)
	r.start()
	r.awaitState("one", delivery.Live)
	r.endpoint.SetTLS(agenttest.TLSUntrusted)
	r.awaitScrapes(one, 25)
	r.endpoint.SetTLS(agenttest.TLSTrusted)
	r.awaitScrapes(one, 5)
	r.awaitAll(r.endpoint, one)
}

// TestTokenRotation: the token file is read again; a wrong one loses nothing.
func TestTokenRotation(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 5})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 5)
	r.endpoint.SetToken(agenttest.DefaultTenant, "new-token")
	r.awaitScrapes(one, 20)
	if s := r.destination("one"); !strings.Contains(s.LastError, "401") {
		t.Errorf("the last error is %q", s.LastError)
	}
	writeFile(t, r.dir, "token", []byte("new-token\n"))
	r.awaitScrapes(one, 5)
	r.awaitAll(r.endpoint, one)
	if !strings.Contains(r.log.String(), "bad authentication token") {
		t.Error("the log does not have the endpoint's words")
	}
}

// TestOneBadSeries: a series that Cortex refuses costs itself only, to the sample.
// It is named, and left out of what is sent.
func TestOneBadSeries(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 20, Wide: true})
	r.start()
	r.awaitState("one", delivery.Live)
	r.eventually("the series to be named", func() error {
		if s := r.destination("one"); s.State != delivery.Behind || !strings.Contains(s.Why, "agenttest_wide") || !strings.Contains(s.LastError, "too many labels") {
			return fmt.Errorf("%s, %q, the last error is %q", s.State, s.Why, s.LastError)
		}
		return nil
	})
	since := r.destination("one").Since
	r.awaitScrapes(one, 25)
	r.awaitStored(r.endpoint, "", one)
	if s := r.destination("one"); s.State != delivery.Behind || !s.Since.Equal(since) {
		t.Errorf("it goes to and fro: %+v", s)
	}
	for _, lost := range r.endpoint.Snapshot().Lost() {
		if !strings.Contains(lost.Labels.String(), "agenttest_wide") {
			t.Fatalf("%v was lost: %s", lost.Labels, lost.Reason)
		}
	}
	l := r.awaitLedger("one", r.endpoint)
	if ledger.Total(l.Uncertain) > 0 || ledger.Total(l.Refused) < 25 {
		t.Errorf("the ledger does not know of the refusals: %+v", l)
	}
}

// TestAllOrNothing: while behind, one bad sample does not cost the others of
// its request at a receiver that rolls back.
func TestAllOrNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{AllOrNothing: true})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 20, Wide: true})
	r.outage(func() {
		r.start()
		r.awaitState("one", delivery.Behind)
		r.awaitScrapes(one, 20)
		r.targets.Remove(one) // all of it is backlog
		r.eventually("the agent to find the target gone", func() error {
			if body, _, err := r.get("/targets"); err != nil || !strings.Contains(string(body), "404") {
				return fmt.Errorf("%v: %s", err, body)
			}
			return nil
		})
	})
	r.awaitStored(r.endpoint, "", one)
	r.awaitLedger("one", r.endpoint)
}
