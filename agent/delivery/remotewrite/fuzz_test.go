package remotewrite

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// FuzzAnswer has an endpoint answer a request with any bytes: it is an acknowledgement
// only where HTTP says so, and whatever else it is has a class, words and bounds.
func FuzzAnswer(f *testing.F) {
	for _, answer := range []string{
		"", "x", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>",
		"HTTP/1.1 200 OK\r\nX-Prometheus-Remote-Write-Samples-Written: 1\r\n\r\n", "HTTP/1.1 200 OK\r\nX-Prometheus-Remote-Write-Samples-Written: -1\r\n\r\n",
		"HTTP/1.1 400 Bad Request\r\nContent-Length: 99\r\n\r\nout of order", "HTTP/1.0 429 X\r\nRetry-After: 99999999999999999999\r\n\r\n",
		"HTTP/1.1 503 X\r\nRetry-After: Fri, 27 Nov 2026 22:00:00 GMT\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "HTTP/1.1 302 Found\r\nLocation: %zz\r\n\r\n",
		"HTTP/1.1 413 X\r\nContent-Encoding: gzip\r\n\r\nno gzip", "HTTP/1.1 999 \r\n\r\n", "HTTP/1.1 000 \r\n\r\n",
	} {
		f.Add([]byte(answer), false)
		f.Add([]byte(answer), true)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { ln.Close() })
	var now atomic.Pointer[[]byte]
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			answer(conn, *now.Load())
		}
	}()
	v1, v2 := loadEndpoint(f, "http://"+ln.Addr().String(), ""), loadEndpoint(f, "http://"+ln.Addr().String(), protobuf2)
	f.Fuzz(func(t *testing.T, content []byte, second bool) {
		e := v1
		if second {
			e = v2
		}
		now.Store(&content)
		err := e.Post(t.Context(), []byte("x"), 0)
		client, cerr := e.PlainClient(t.Context())
		if cerr != nil {
			t.Fatal(cerr)
		}
		client.CloseIdleConnections() // each request has a connection of its own
		var r *Refusal
		switch {
		case err == nil:
			requireAcknowledgement(t, content)
		case !errors.As(err, &r):
			t.Errorf("%q: %v", content, err)
		case r.Class() == Acknowledged || r.Error() == "" || len(r.Body) > maxAnswer || r.RetryAfter < 0 || r.RetryAfter > longestRetryAfter:
			t.Errorf("%q: %s, %+v", content, r.Class(), r)
		default:
			_, _ = Kind(r.Status), Reason(r.Status, r.Error())
		}
	})
}

// answer reads a request, and closes the connection behind the answer.
func answer(conn net.Conn, content []byte) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, req.Body)
	_, _ = conn.Write(content)
}

// requireAcknowledgement asks the standard library whether an answer is one, behind any
// that are only informational.
func requireAcknowledgement(t *testing.T, content []byte) {
	t.Helper()
	b := bufio.NewReader(bytes.NewReader(content))
	for {
		resp, err := http.ReadResponse(b, &http.Request{Method: http.MethodPost})
		if err != nil {
			t.Fatalf("%q is taken for an acknowledgement: %v", content, err)
		}
		if resp.StatusCode/100 == 2 {
			return
		}
		if resp.StatusCode/100 != 1 || resp.StatusCode == http.StatusSwitchingProtocols {
			t.Fatalf("%q is taken for an acknowledgement", content)
		}
	}
}
