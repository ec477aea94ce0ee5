package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestLessMissed(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	for name, tc := range map[string]struct {
		a, b load
		want bool
	}{
		"both silent, the older goes":           {load{since: at(1)}, load{since: at(2)}, true},
		"both silent, the newer stays":          {load{since: at(2)}, load{since: at(1)}, false},
		"silent before one with a request":      {load{since: at(2)}, load{requests: 1, since: at(1)}, true},
		"a request stays before a silent one":   {load{requests: 1, since: at(1)}, load{since: at(2)}, false},
		"both with a request, the older goes":   {load{requests: 1, since: at(1)}, load{requests: 3, since: at(2)}, true},
		"both with a request, the newer stays":  {load{requests: 3, since: at(2)}, load{requests: 1, since: at(1)}, false},
		"of the same age, neither before other": {load{requests: 1, since: at(1)}, load{requests: 1, since: at(1)}, false},
	} {
		if got := lessMissed(tc.a, tc.b); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// manyFiles skips a test that needs more open files than there may be. Go has
// raised the soft limit to the hard one.
func manyFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < n {
		t.Skipf("needs %d open files, RLIMIT_NOFILE is %d (%v)", n, limit.Cur, err)
	}
}

// slowClients opens n connections, and keeps them open until the test ends. Each
// sends what it is given; it reads one answer if it is to be answered.
func slowClients(t *testing.T, n int, dial func() (net.Conn, error), sends string, answered bool) {
	t.Helper()
	for i := range n {
		conn, err := dial()
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, sends); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		if !answered {
			continue
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
}

// TestSlowClients: health is answered however many clients are slow, whatever
// they are slow in, and the server stops although they stay.
func TestSlowClients(t *testing.T) {
	const slow = 600
	manyFiles(t, 2*slow+200)
	dir := t.TempDir()
	writeCertificate(t, dir)
	webConfig := filepath.Join(dir, "web.yml")
	if err := os.WriteFile(webConfig, []byte("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		sends    string
		answered bool
		tls      bool
	}{
		"silent":                      {},
		"half a header":               {sends: "GET /-/healthy HTTP/1.1\r\nHos"},
		"idle after an answer":        {sends: "GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n", answered: true},
		"half a body":                 {sends: "POST /-/healthy HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf"},
		"a request that takes long":   {sends: "POST /-/reload HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		"TLS, no handshake":           {sends: "\x16", tls: true},
		"TLS, idle after a handshake": {sends: "GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n", answered: true, tls: true},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Reload: func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			}}
			scheme, insecure := "http", &tls.Config{InsecureSkipVerify: true}
			if tc.tls {
				o.ConfigFile, scheme = webConfig, "https"
			}
			s := serve(t, o)
			address := s.Addrs()[0].String()
			slowClients(t, slow, func() (net.Conn, error) {
				if tc.tls && tc.answered {
					return tls.Dial("tcp", address, insecure)
				}
				return net.Dial("tcp", address)
			}, tc.sends, tc.answered)
			client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: insecure, DisableKeepAlives: true}}
			for range 3 {
				url := fmt.Sprintf("%s://%s/-/healthy", scheme, address)
				if code, body, _ := (request{url: url, client: client}).do(t); code != 200 || !strings.HasSuffix(body, "Healthy.\n") {
					t.Errorf("%d %q", code, body)
				}
			}
			s.connections.mtx.Lock()
			defer s.connections.mtx.Unlock()
			if n := len(s.connections.open); n > defaultMaxConnections {
				t.Errorf("%d connections are open", n)
			}
		})
	}
}

// TestUnreadAnswers: of the answers that nobody reads, only so many are worked on at the
// same time; the latest gets its own, and what was too many is closed.
func TestUnreadAnswers(t *testing.T) {
	const unread = 3 * mostLarge
	s := serve(t, Options{})
	address := s.Addrs()[0].String()
	dial := func() (net.Conn, error) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(2 << 10)
		}
		return conn, err
	}
	// More than the buffers of a connection take.
	slowClients(t, unread, dial, strings.Repeat("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 500), false)
	large := func() (n int) {
		s.connections.mtx.Lock()
		defer s.connections.mtx.Unlock()
		for c := range s.connections.open {
			n += c.load.large
		}
		return n
	}
	for deadline := time.Now().Add(patience); large() < mostLarge; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("only %d answers are being written: this test shows nothing", large())
		}
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"/-/healthy", "/api/v1/status/runtimeinfo"} {
		if code, body, _ := (request{url: "http://" + address + path, client: client}).do(t); code != 200 {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	if n := large(); n > mostLarge {
		t.Errorf("%d answers are worked on", n)
	}
}
