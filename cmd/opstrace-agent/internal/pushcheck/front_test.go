package pushcheck

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestPlainToTLS: plain HTTP on a port for TLS, whose server says so, or ends the
// connection.
func TestPlainToTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	steps, good := run(t, destination(t, strings.Replace(s.URL, "https", "http", 1)))
	expect(t, steps, good, noToken, connected,
		"FAIL write: HTTP 400 Bad Request: Client sent an HTTP request to an HTTPS server. | this port speaks TLS: write https:// in the url")

	mute, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: s.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	go func() {
		for {
			conn, err := mute.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.(*tls.Conn).HandshakeContext(t.Context()) // fails for plain HTTP
			}()
		}
	}()
	steps, good = run(t, destination(t, "http://"+mute.Addr().String()+"/api/v1/push"))
	if last := steps[len(steps)-1]; good || !strings.HasPrefix(last, "FAIL write: ") || !strings.HasSuffix(last, " | this port speaks TLS: write https:// in the url") {
		t.Errorf("got %q", steps)
	}
}

// TestPages: pages that proxies answer with 400.
func TestPages(t *testing.T) {
	page := func(title string) string { return "<html><head><title>400 " + title + "</title></head></html>" }
	for _, tc := range []struct{ body, hint string }{
		{page("The plain HTTP request was sent to HTTPS port"), "this port speaks TLS: write https:// in the url"},
		{page("No required SSL certificate was sent"), "the endpoint asks for a certificate of the client: set tls_config.cert_file and key_file"},
		{page("The SSL certificate error"), "the endpoint does not take the certificate of the client: renew tls_config.cert_file and key_file, or name the right ones"},
		{page("Request Header Or Cookie Too Large"), "the header is too long for a proxy on the way: check that the token file holds the token alone"},
		{page("Invalid URL"), "the url is that of a proxy: put the proxy into proxy_url, and the endpoint into url"},
		{page("Invalid Hostname"), "something on the way does not know this host: check the url"},
		{page("Something else"), "something in front of the endpoint answers in its place; the agent would keep the samples and try again: check http or https in the url, the port, and the client certificate"},
	} {
		e := open(t, agenttest.Manners{})
		e.Respond(agenttest.Answer{Status: 400, Body: tc.body, Header: asHTML})
		steps, good := run(t, destination(t, e.URL()))
		if last := steps[len(steps)-1]; good || !strings.HasSuffix(last, " | "+tc.hint) {
			t.Errorf("%s: got %q", tc.body, last)
		}
	}
}

// TestEarlyAnswer: an answer may come before the request is noted as written.
func TestEarlyAnswer(t *testing.T) {
	c := &connection{}
	hooks := c.trace()
	asked := time.Now()
	if got := c.sent(asked); !got.Equal(asked) {
		t.Errorf("without a connection: %s", got)
	}
	hooks.GotConn(httptrace.GotConnInfo{})
	ready := c.sent(asked)
	if ready.Before(asked) || time.Since(ready) > time.Hour {
		t.Errorf("before the request is written: %s", ready)
	}
	hooks.WroteRequest(httptrace.WroteRequestInfo{})
	if got := c.sent(asked); got.Before(ready) {
		t.Errorf("after it: %s", got)
	}
}
