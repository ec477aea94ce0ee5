package agenttest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
)

// scraperConn is a connection that a scraper opened.
type scraperConn struct {
	net.Conn

	requests atomic.Int64 // that came over it
}

type scraperConnKey struct{}

// withScraperConn is a http.Server's ConnContext.
func withScraperConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, scraperConnKey{}, &scraperConn{Conn: c})
}

// scraperConnOf is for requests to a server that has withScraperConn.
func scraperConnOf(r *http.Request) *scraperConn {
	return r.Context().Value(scraperConnKey{}).(*scraperConn)
}

// kept reports whether the scraper has kept the connection since its n-th
// request on it. An HTTP client keeps a connection only when it has read the
// response to its end in time, and closes it before it reports anything else.
// What it sends first on another connection arrives later than that, but this
// server may not have been told yet: so the socket itself is asked.
func (c *scraperConn) kept(n int64) bool {
	if c.requests.Load() > n {
		return true
	}
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	open := false
	// Not raw.Read, which would wait for the server's own.
	err = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = n > 0 || errors.Is(err, syscall.EAGAIN)
	})
	return err == nil && open
}
