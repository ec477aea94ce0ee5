package pushcheck

import (
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

func modelDuration(d time.Duration) model.Duration { return model.Duration(d) }

// fullListener is an address that takes no connection any more.
func fullListener(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}
	for range 8 {
		conn, err := net.DialTimeout("tcp", addr.String(), 200*time.Millisecond)
		if err != nil {
			return addr.String()
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the queue does not get full")
	return ""
}

// loginPage is what a guest network shows.
const loginPage = "<!DOCTYPE html>\n<html><head><title>Welcome to\n Hotel Wi-Fi</title></head><body>Log in</body></html>"

var asHTML = http.Header{"Content-Type": {"text/html; charset=utf-8"}}

func TestAnswers(t *testing.T) {
	const again = "; the agent would keep the samples and try again"
	const portal = "something on the way answers with a web page in the endpoint's place, such as the login page of a guest network; log in there, or use https"
	for _, tc := range []struct {
		name   string
		answer agenttest.Answer
		known  bool // the token is accepted all the same
		want   string
	}{
		{"captive portal", agenttest.Answer{Status: 200, Body: loginPage, Header: asHTML}, false,
			`FAIL write: HTTP 200 OK: a web page, "Welcome to\n Hotel Wi-Fi" | ` + portal},
		{"captive portal without a type", agenttest.Answer{Status: 200, Body: "<html>hello", Header: http.Header{"Content-Type": {"text/plain"}}}, false,
			"FAIL write: HTTP 200 OK: a web page without a title | " + portal},
		{"captive portal that redirects", agenttest.Answer{Status: 302, Header: http.Header{"Location": {"http://login.example.net/?from=x"}}}, false,
			"FAIL write: HTTP 302 Found to http://login.example.net/?from=x | something on the way answers in the endpoint's place, such as the login page of a guest network; log in there, or check the url"},
		{"another path", agenttest.Answer{Status: 301, Header: http.Header{"Location": {"/push"}}}, false,
			"FAIL write: HTTP 301 Moved Permanently to /push | the agent follows no redirect, which would carry the token along: set the url to where it points"},
		{"redirect to nowhere", agenttest.Answer{Status: 302}, false,
			"FAIL write: HTTP 302 Found | check the url: nothing takes writes there"},
		{"400", agenttest.Answer{Status: 400, Body: "snappy: corrupt input\n"}, false,
			"FAIL write: HTTP 400 Bad Request: snappy: corrupt input | the endpoint does not understand an empty write: check that it takes Prometheus remote write"},
		{"400 by a proxy", agenttest.NginxError(400), false,
			"FAIL write: HTTP 400 Bad Request | something in front of the endpoint answers in its place" + again + ": check http or https in the url, the port, and the client certificate"},
		{"403", agenttest.NginxError(403), false,
			"FAIL auth: HTTP 403 Forbidden | the token is known and may not write, or something on the way forbids it"},
		{"404", agenttest.NginxError(404), false,
			"FAIL write: HTTP 404 Not Found | nothing takes writes there: check the host of the url"},
		{"409", agenttest.EmptyRing(), true,
			"FAIL write: HTTP 409 Conflict: 500-to-409: empty ring | the endpoint has trouble of its own, which passes" + again},
		{"418", agenttest.Answer{Status: 418, Body: "short\x1b[2Jand stout"}, false,
			"FAIL write: HTTP 418 I'm a teapot: short�[2Jand stout | the agent would keep the samples and try again"},
		{"429", agenttest.Answer{Status: 429, Body: "slow down"}, false,
			"FAIL write: HTTP 429 Too Many Requests: slow down | the tenant is over its rate limit; the agent would keep the samples and send them more slowly"},
		{"502", agenttest.NginxError(502), false,
			"FAIL write: HTTP 502 Bad Gateway | the endpoint, or something in front of it, is down" + again},
		{"503", agenttest.Answer{Status: 503, Body: "429-to-503: ingestion rate limit (100000) exceeded"}, true,
			"FAIL write: HTTP 503 Service Unavailable: 429-to-503: ingestion rate limit (100000) exceeded | the tenant is over its rate limit; the agent would keep the samples and send them more slowly"},
		{"reset", agenttest.Answer{Reset: true}, false,
			"FAIL write: read tcp 127.0.0.1:PORT: read: connection reset by peer | the connection was cut before an answer came; the agent would try again"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			token := newJWT("default", nextYear)
			e := newEndpoint(t, agenttest.Options{PlainHTTP: true, Tokens: map[string]string{"default": token}})
			e.Respond(tc.answer)
			steps, good := run(t, destination(t, e.URL(), "bearer_token_file: "+writeFile(t, token, 0o600)))
			want := []string{goodToken, connected, inTime}
			if tc.answer.Reset {
				want = want[:2]
			}
			if tc.known {
				want = append(want, goodAuth)
			}
			expect(t, steps, good, append(want, tc.want)...)
		})
	}
}

func TestPlainHTTP(t *testing.T) {
	e, settings := secured(t)
	steps, good := run(t, destination(t, e.PlainURL(), settings...))
	expect(t, steps, good, goodToken, connected, inTime,
		"FAIL write: HTTP 308 Permanent Redirect to https://127.0.0.1:PORT/api/v1/push | the endpoint takes https only, and the agent follows no redirect, which would carry the token along: write https:// in the url")
	if s := e.Snapshot(); len(s.Requests) != 0 {
		t.Error("the redirect was followed, with the token")
	}
}

func TestWrongPath(t *testing.T) {
	e := open(t, agenttest.Manners{})
	for path, want := range map[string]string{
		"/push": "FAIL write: HTTP 404 Not Found: 404 page not found | nothing takes writes under /push: Opstrace does under /api/v1/push, Prometheus under /api/v1/write",
		"":      "FAIL write: HTTP 404 Not Found: 404 page not found | nothing takes writes under /: Opstrace does under /api/v1/push, Prometheus under /api/v1/write",
	} {
		steps, good := run(t, destination(t, strings.TrimSuffix(e.URL(), agenttest.PushPath)+path))
		expect(t, steps, good, noToken, connected, inTime, want)
	}
}

// TestAnotherProgram: not every 200 is an acknowledgement.
func TestAnotherProgram(t *testing.T) {
	e := open(t, agenttest.Manners{})
	e.Respond(agenttest.Answer{Status: 200, Body: `{"message": "hello"}`})
	steps, good := run(t, destination(t, e.URL()))
	expect(t, steps, good, noToken, connected, inTime,
		`note write: an empty write is answered: HTTP 200 OK: {"message": "hello"} | a receiver of remote write answers with nothing: check that the url is that of one`)
}

func TestSilentEndpoint(t *testing.T) {
	e := open(t, agenttest.Manners{})
	e.Respond(agenttest.Answer{Delay: time.Minute})
	rw := destination(t, e.URL())
	rw.RemoteTimeout = modelDuration(300 * time.Millisecond)
	steps, good := run(t, rw)
	expect(t, steps, good, noToken, connected,
		"FAIL write: no answer within 300ms | the connection stands, but nobody behind it answers; the agent would try again")
}

func TestRemoteWrite2(t *testing.T) {
	const setting = "protobuf_message: io.prometheus.write.v2.Request"
	steps, good := run(t, destination(t, open(t, agenttest.Manners{RemoteWrite2: agenttest.IgnoreRemoteWrite2}).URL(), setting))
	expect(t, steps, good, noToken, connected, inTime,
		"FAIL write: HTTP 200 OK, without a word about what was written | the endpoint speaks remote write 1.0 only and would lose every sample: remove protobuf_message")

	e := open(t, agenttest.Manners{RemoteWrite2: agenttest.RejectRemoteWrite2})
	steps, good = run(t, destination(t, e.URL(), setting))
	expect(t, steps[:3], true, noToken, connected, inTime)
	if len(steps) != 4 || good || !strings.HasPrefix(steps[3], "FAIL write: HTTP 415 Unsupported Media Type: ") ||
		!strings.HasSuffix(steps[3], " | the endpoint speaks remote write 1.0 only: remove protobuf_message") {
		t.Errorf("got %q", steps)
	}
}

func TestClock(t *testing.T) {
	e := open(t, agenttest.Manners{})
	const accepted = "ok write: an empty write is accepted: HTTP 200 OK"
	const hint = " | set this host's clock, best by NTP"
	for _, tc := range []struct {
		endpoint time.Duration // its clock against ours
		want     []string
	}{
		{-30 * time.Minute, []string{"FAIL clock: 30 m ahead of the endpoint's: samples would be refused as too new" + hint}},
		{3 * time.Hour, []string{"FAIL clock: 3 h behind the endpoint's: samples would be refused as out of bounds" + hint}},
		{5 * time.Minute, []string{"note clock: 5 m behind the endpoint's" + hint, accepted}},
		{-5 * time.Minute, []string{"note clock: 5 m ahead of the endpoint's" + hint, accepted}},
		{10 * time.Second, []string{inTime, accepted}},
	} {
		e.Respond(agenttest.Answer{Status: 200, Header: http.Header{"Date": {time.Now().Add(tc.endpoint).UTC().Format(http.TimeFormat)}}})
		steps, good := run(t, destination(t, e.URL()))
		expect(t, steps, good, append([]string{noToken, connected}, tc.want...)...)
	}
}
