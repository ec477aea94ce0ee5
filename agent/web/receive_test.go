package web

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/receive"
)

// TestReceiverIsOff: Prometheus' answer where samples may not be sent.
func TestReceiverIsOff(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	for path, words := range map[string]string{remoteWritePath: "--web.enable-remote-write-receiver", otlpPath: "--web.enable-otlp-receiver"} {
		resp, err := http.Post("http://"+s.Addrs()[0].String()+path, "application/x-protobuf", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusNotFound || !strings.Contains(string(b), words) || !resp.Close {
			t.Errorf("%s: %s %q, closed %v, %v", path, resp.Status, b, resp.Close, err)
		}
	}
}

// TestUnixSocket: a socket is served for all who reach its directory, also behind one that a killed process
// has left; not in the place of another file or process. Connections are kept for senders.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "agent.sock")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()

	var from []string
	serve(t, Options{
		ListenAddresses: []string{"unix:" + path, "127.0.0.1:0"},
		RemoteWrite: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			from = append(from, r.RemoteAddr)
			w.WriteHeader(http.StatusNoContent)
		}),
	})
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o666 {
		t.Errorf("%v %v", fi, err)
	}
	dials := 0
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		dials++
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	defer client.CloseIdleConnections()
	for range 3 {
		resp, err := client.Post("http://localhost"+remoteWritePath, "application/x-protobuf", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			t.Error(resp.Status)
		}
	}
	// Of one in chunks, another server on the way may see another end.
	resp, err := client.Post("http://localhost"+remoteWritePath, "application/x-protobuf", struct{ io.Reader }{strings.NewReader("x")})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if !resp.Close {
		t.Error("the connection is kept behind a body in chunks")
	}
	from = from[:3]
	if dials != 1 || len(from) != 3 {
		t.Errorf("%d connections for requests from %q", dials, from)
	}

	if _, err := listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("in the place of a process: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen("unix:" + file); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("in the place of a file: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "mine" {
		t.Errorf("%q %v", b, err)
	}
}

// TestSenders: the page and the API tell who sends; the page has nothing of it where nobody
// may.
func TestSenders(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{Senders: func() []receive.Sender {
		return []receive.Sender{{Address: "local", Job: "shop", Protocol: "otlp", Requests: 3, Samples: 1234, Declined: 1, Last: time.Now(), LastError: "too <much>"}}
	}})
	for path, words := range map[string][]string{
		"/":                      {`href="#senders"`, `data-sender="shop"`, "1,234", "too &lt;much&gt;"},
		"/api/v1/status/senders": {`"job":"shop"`, `"samples":1234`},
	} {
		if body := get(t, s.Handler(), path).Body.String(); !containsAll(body, words) {
			t.Errorf("%s: %s", path, body)
		}
	}
	if body := get(t, serve(t, Options{}).Handler(), "/").Body.String(); strings.Contains(body, "enders") {
		t.Error("senders, where nobody may send")
	}
}

func containsAll(s string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(s, w) {
			return false
		}
	}
	return true
}
