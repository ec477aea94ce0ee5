package web

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// answers sends what a client may send, byte for byte, and returns the status codes of
// all answers until the server closes the connection, which it has to.
func answers(t *testing.T, address, sends string) (codes []int) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	go io.WriteString(conn, sends) // the server may close before it has read all
	r := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return codes
		}
		codes = append(codes, resp.StatusCode)
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return codes
		}
	}
}

// TestHostileRequests: a request that two servers could read differently, or that names
// another host, reloads nothing, and neither does what is hidden in its body.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	var reloads atomic.Int64
	s := serve(t, Options{Reload: func(context.Context) error { reloads.Add(1); return nil }})
	address := s.Addrs()[0].String()
	const hidden = "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	// first is a request to a path that everybody may ask, with this header and body.
	first := func(header, body string) string {
		return "POST /-/healthy HTTP/1.1\r\nHost: localhost\r\n" + header + "\r\n" + body
	}
	length := fmt.Sprintf("Content-Length: %d\r\n", len("0\r\n\r\n"+hidden))
	for name, tc := range map[string]struct {
		sends string
		want  string
	}{
		"length and chunks":              {first(length+"Transfer-Encoding: chunked\r\n", "0\r\n\r\n"+hidden), "[405]"},
		"chunks and length":              {first("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden)), "[405]"},
		"two lengths":                    {first("Content-Length: 0\r\n"+length, hidden), "[400]"},
		"two lengths in one":             {first("Content-Length: 0, 5\r\n", hidden), "[400]"},
		"a length with a sign":           {first("Content-Length: +0\r\n", hidden), "[400]"},
		"an encoding that is none":       {first("Transfer-Encoding: xchunked\r\n", hidden), "[501]"},
		"a space before the colon":       {first("Transfer-Encoding : chunked\r\n", hidden), "[400]"},
		"two encodings":                  {first("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", hidden), "[501]"},
		"a bare line feed in a chunk":    {first("Transfer-Encoding: chunked\r\n", "0\n\n"+hidden), "[405]"},
		"a body that GET has not":        {"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n" + length + "\r\n0\r\n\r\n" + hidden, "[200]"},
		"another host in the URI":        {"POST http://rebound.example.org/-/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "[403]"},
		"the host of the header":         {"POST /-/reload HTTP/1.1\r\nHost: rebound.example.org\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "[403]"},
		"a name that begins as this":     {"POST /-/reload HTTP/1.1\r\nHost: 127.0.0.1.example.org\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "[403]"},
		"two hosts":                      {"POST /-/reload HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example.org\r\n\r\n", "[400]"},
		"no host":                        {"POST /-/reload HTTP/1.1\r\n\r\n", "[400]"},
		"no host, of old":                {"POST /-/reload HTTP/1.0\r\nContent-Length: 0\r\n\r\n", "[403]"},
		"a form of another origin":       {"POST /-/reload HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "[403]"},
		"the same host on another port":  {"POST /-/reload HTTP/1.1\r\nHost: localhost:9095\r\nOrigin: http://localhost:3000\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "[403]"},
		"a profile for another site":     {"GET /debug/pprof/cmdline HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nConnection: close\r\n\r\n", "[403]"},
		"a header of 64 KiB":             {"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nCookie: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", "[431]"},
		"20,000 headers":                 {"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n" + manyHeaders(20000) + "\r\n", "[431]"},
		"an ordinary request with a lot": {"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: " + strings.Repeat("a", 12<<10) + "\r\n\r\n", "[200]"},
	} {
		if got := fmt.Sprint(answers(t, address, tc.sends)); got != tc.want {
			t.Errorf("%s: %s instead of %s", name, got, tc.want)
		}
	}
	if n := reloads.Load(); n != 0 {
		t.Errorf("%d reloads", n)
	}
	// So that the above shows something.
	if got := fmt.Sprint(answers(t, address, hidden)); got != "[200]" || reloads.Load() != 1 {
		t.Errorf("what was hidden: %s, %d reloads", got, reloads.Load())
	}
}

func manyHeaders(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "h%d:\r\n", i)
	}
	return b.String()
}

// TestRapidReset: a client of HTTP/2 that begins requests and takes them back at once,
// by the thousand, keeps the server no busier than others may, and loses its connection.
func TestRapidReset(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool := writeCertificate(t, dir)
	file := filepath.Join(dir, "web.yml")
	if err := os.WriteFile(file, []byte("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var working, most atomic.Int64
	release := make(chan struct{})
	s := serve(t, Options{ConfigFile: file, Reload: func(context.Context) error {
		n := working.Add(1)
		defer working.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release // it does not look at who has gone
		return nil
	}})
	t.Cleanup(func() { close(release) }) // before the server stops
	address := s.Addrs()[0].String()
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if p := conn.ConnectionState().NegotiatedProtocol; p != "h2" {
		t.Fatalf("%q is spoken: this test shows nothing", p)
	}
	conn.SetDeadline(time.Now().Add(patience))
	closed := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, conn)
		closed <- err
	}()
	if err := beginAndReset(conn, 5000); err == nil {
		// All were written before the server had closed.
		if err := <-closed; err != nil && strings.Contains(err.Error(), "timeout") {
			t.Error("the connection stays")
		}
	}
	eventually(t, "one is worked on", func() bool { return most.Load() > 0 })
	if n := most.Load(); n > mostLarge {
		t.Errorf("%d requests were worked on at the same time, and %d may be", n, mostLarge)
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	if code, body, _ := (request{url: "https://" + address + "/-/healthy", client: client}).do(t); code != 200 {
		t.Errorf("health: %d %s", code, body)
	}
}

// beginAndReset begins n requests over HTTP/2 and takes each back.
func beginAndReset(conn net.Conn, n int) error {
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return err
	}
	framer := http2.NewFramer(conn, nil)
	if err := framer.WriteSettings(); err != nil {
		return err
	}
	var header bytes.Buffer
	encoder := hpack.NewEncoder(&header)
	for i := range n {
		header.Reset()
		for _, f := range []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "localhost"}, {Name: ":path", Value: "/-/reload"}} {
			if err := encoder.WriteField(f); err != nil {
				return err
			}
		}
		id := uint32(2*i + 1)
		if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: header.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
			return err
		}
		if err := framer.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			return err
		}
	}
	return nil
}
