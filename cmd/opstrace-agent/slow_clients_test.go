package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSlowClientsOfTheProcess: 600 clients that say half a request, or nothing
// more after one, neither keep the health check from its answer nor the process
// from its end.
func TestSlowClientsOfTheProcess(t *testing.T) {
	const slow = 600
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 2*slow+200 {
		t.Skipf("needs %d open files, RLIMIT_NOFILE is %d (%v)", 2*slow+200, limit.Cur, err)
	}
	r, _ := startWith(t, nil)
	for i := range 2 * slow {
		if i == slow {
			// These connections take the places of the first.
			if code, _ := r.get("/-/healthy"); code != http.StatusOK {
				t.Errorf("with %d clients idle: %d", slow, code)
			}
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		if i >= slow {
			io.WriteString(conn, "GET /-/healthy HTTP/1.1\r\nHos")
			continue
		}
		io.WriteString(conn, "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	for range 5 {
		if code, _ := r.get("/-/healthy"); code != http.StatusOK {
			t.Errorf("with %d clients slow: %d", slow, code)
		}
	}
	r.signal(syscall.SIGTERM)
	if code, took := r.wait(); code != 0 {
		t.Errorf("code %d after %s", code, took)
	}
}
