package remotewrite

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const (
	plainToTLS  = "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n<center>The plain HTTP request was sent to HTTPS port</center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>"
	fourHundred = "<html>\r\n<head><title>400 Bad Request</title></head>\r\n<body></body></html>"
	xhtml       = "\ufeff<?xml version=\"1.0\"?>\n<html><head><title>Blocked &amp; logged</title></head></html>"
	asHTML      = "text/html; charset=utf-8"
)

// TestInReceiversPlace tells the answers of receivers from those that are given
// in their place.
func TestInReceiversPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind, body string
		want       bool
		words      string // with status 400
	}{
		{"text/html", plainToTLS, true, `a web page, "400 The plain HTTP request was sent to HTTPS port"`},
		{"", plainToTLS, true, `a web page, "400 The plain HTTP request was sent to HTTPS port"`},
		{"", fourHundred, true, ""},
		{"", xhtml, true, `a web page, "Blocked & logged"`},
		{"application/xhtml+xml", "x", true, "a web page without a title"},
		{asHTML, "", true, "a web page without a title"},
		{"", "Client sent an HTTP request to an HTTPS server.\n", true, "Client sent an HTTP request to an HTTPS server.\n"},
		{"text/plain; charset=utf-8", "user=default: err: out of order sample. timestamp=2026-01-01T00:00:00Z, series={__name__=\"up\"}", false, "user=default: err: out of order sample. timestamp=2026-01-01T00:00:00Z, series={__name__=\"up\"}"},
		{"", "label value too long for metric: a <html> b", false, "label value too long for metric: a <html> b"},
		{"application/json", `{"status":"error"}`, false, `{"status":"error"}`},
		{"", "", false, ""},
	} {
		if got := InReceiversPlace(c.kind, c.body); got != c.want {
			t.Errorf("%s %q: %t", c.kind, c.body, got)
		}
		if got := WordsOf(400, c.kind, c.body); got != c.words {
			t.Errorf("%s %q: %q", c.kind, c.body, got)
		}
	}
}

// TestRefusalsByOthers: what something else answers in the receiver's place gives
// no sample up, and says so; the way's own answers keep their meaning.
func TestRefusalsByOthers(t *testing.T) {
	t.Parallel()
	const others = "something in front of the receiver answers in its place: HTTP status "
	for _, c := range []struct {
		r     Refusal
		class Class
		words string
	}{
		{Refusal{Status: 400, Type: asHTML, Body: plainToTLS}, Held, others + `400 Bad Request: a web page, "400 The plain HTTP request was sent to HTTPS port"`},
		{Refusal{Status: 422, Body: fourHundred}, Held, others + `422 Unprocessable Entity: a web page, "400 Bad Request"`},
		{Refusal{Status: 200, Type: asHTML, Body: "log in"}, Held, others + "200 OK: a web page without a title"},
		{Refusal{Status: 413, Type: asHTML, Body: "<html><title>413 Request Entity Too Large</title>"}, TooLarge, "server returned HTTP status 413 Request Entity Too Large"},
		{Refusal{Status: 502, Type: asHTML, Body: "<html><title>502 Bad Gateway</title>"}, Passing, "server returned HTTP status 502 Bad Gateway"},
		{Refusal{Status: 400, Body: "bad label"}, Final, "server returned HTTP status 400 Bad Request: bad label"},
		{Refusal{Status: 415, V2: true, Body: "unknown"}, Held, "this endpoint does not take remote write 2.0: server returned HTTP status 415 Unsupported Media Type: unknown"},
		{Refusal{Status: 415, Body: "2.0 only"}, Held, "server returned HTTP status 415 Unsupported Media Type: 2.0 only"},
	} {
		if got := c.r.Class(); got != c.class {
			t.Errorf("%+v is %s, not %s", c.r, got, c.class)
		}
		if got := c.r.Error(); got != c.words {
			t.Errorf("%+v: %q", c.r, got)
		}
	}
}

// TestRefusalInWords: what upstream's queue says of an answer is read back.
func TestRefusalInWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		words  string
		v2     bool
		class  Class
		body   string
	}{
		{400, "server returned HTTP status 400 Bad Request: " + plainToTLS, false, Held, plainToTLS},
		{400, "server returned HTTP status 400 Bad Request: user=1: out of order sample\n", false, Final, "user=1: out of order sample"},
		{415, "server returned HTTP status 415 Unsupported Media Type: no", true, Held, "no"},
		{503, "server returned HTTP status 503 Service Unavailable: " + plainToTLS, false, Passing, plainToTLS},
		{400, "server returned HTTP status 400 Bad Request: ", false, Final, ""},
		{0, "Post \"http://x/\": EOF", false, Unanswered, ""},
	} {
		r := (&Endpoint{V2: c.v2}).RefusalInWords(c.status, c.words)
		if r.Class() != c.class || r.Body != c.body || r.V2 != (c.v2 && c.status != 0) || c.status == 0 && r.Error() != c.words {
			t.Errorf("%q: %s, %+v", c.words, r.Class(), r)
		}
	}
}

// TestPostMeetsOthers: a login page that says 200 has taken nothing, and a plain
// request to a TLS port has met no receiver.
func TestPostMeetsOthers(t *testing.T) {
	t.Parallel()
	body := "<!DOCTYPE html><title>Hotel</title>"
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", asHTML)
		_, _ = w.Write([]byte(body))
	})
	portal := httptest.NewServer(handler)
	defer portal.Close()
	held := func(url string) error {
		t.Helper()
		err := loadEndpoint(t, url, "").Post(t.Context(), nil, 0)
		var r *Refusal
		if !errors.As(err, &r) || r.Class() != Held || !strings.Contains(err.Error(), "in its place") {
			t.Errorf("%s: %v", url, err)
		}
		return err
	}
	if err := held(portal.URL); err != nil && !strings.Contains(err.Error(), "Hotel") {
		t.Error(err)
	}
	body = ""
	if err := loadEndpoint(t, portal.URL, "").Post(t.Context(), nil, 0); err != nil {
		t.Errorf("an empty 200 is an acknowledgement, whatever its type: %v", err)
	}
	secure := httptest.NewUnstartedServer(handler)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	held(strings.Replace(secure.URL, "https:", "http:", 1))
}
