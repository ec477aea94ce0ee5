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
// connection. Where it closes before it has read everything, its kernel may reset the
// connection, and its words are lost.
func TestPlainToTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)

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

	for _, address := range []string{s.Listener.Addr().String(), mute.Addr().String()} {
		steps, good := run(t, destination(t, "http://"+address+"/api/v1/push"))
		if last := steps[len(steps)-1]; good || !strings.HasPrefix(last, "FAIL write: ") || !strings.HasSuffix(last, " | this port speaks TLS: write https:// in the url") {
			t.Errorf("got %q", steps)
		}
	}
}

// TestCutAnswer: what came of an answer counts where the connection is lost before its
// end, as the agent counts it.
func TestCutAnswer(t *testing.T) {
	for status, want := range map[int]string{
		http.StatusBadRequest: "FAIL write: HTTP 400 Bad Request: Your browser sent a request that this server could not understand. | the endpoint does not understand an empty write: check that it takes Prometheus remote write",
		http.StatusOK:         "ok write: an empty write is accepted: HTTP 200 OK",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(status)
			if status != http.StatusOK {
				_, _ = io.WriteString(w, "Your browser sent a request that this server could not understand.\n")
			}
		}))
		t.Cleanup(s.Close)
		steps, good := run(t, destination(t, s.URL))
		expect(t, steps, good, noToken, connected, inTime, want)
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
