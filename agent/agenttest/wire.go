package agenttest

import (
	"errors"
	"net"
	"sync/atomic"
)

// Wire is what becomes of the bytes of a connection. The zero value passes all.
type Wire struct {
	// Request resets a connection when so many bytes have come over it, those of TLS and
	// of the requests before included: in the middle of a request, as a rule.
	Request int64
	// Answer resets it when so many bytes have gone the other way.
	Answer int64
}

// SetWire changes the wire for connections that are there and those to come; each counts
// its bytes from when it began.
func (e *Endpoint) SetWire(w Wire) { e.wire.Store(&w) }

// wireListener gives connections that hold to an endpoint's Wire.
type wireListener struct {
	net.Listener

	wire *atomic.Pointer[Wire]
}

func (l wireListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wireConn{Conn: conn, wire: l.wire}, nil
}

// wireConn may be read and written by one goroutine each.
type wireConn struct {
	net.Conn

	wire          *atomic.Pointer[Wire]
	read, written int64
}

var errCut = errors.New("the wire was cut")

// NetConn is the connection below, as that of a tls.Conn.
func (c *wireConn) NetConn() net.Conn { return c.Conn }

// Read leaves bytes unread where the wire is cut, so that the other side has sent them.
func (c *wireConn) Read(b []byte) (int, error) {
	if w := c.wire.Load(); w != nil && w.Request > 0 {
		left := w.Request - c.read
		if left <= 0 {
			return 0, c.cut()
		}
		b = b[:min(int64(len(b)), left)]
	}
	n, err := c.Conn.Read(b)
	c.read += int64(n)
	return n, err
}

func (c *wireConn) Write(b []byte) (int, error) {
	w := c.wire.Load()
	if w == nil || w.Answer <= 0 || int64(len(b)) <= w.Answer-c.written {
		n, err := c.Conn.Write(b)
		c.written += int64(n)
		return n, err
	}
	n, err := c.Conn.Write(b[:max(0, w.Answer-c.written)])
	c.written += int64(n)
	if err == nil {
		err = c.cut()
	}
	return n, err
}

func (c *wireConn) cut() error {
	resetConn(c.Conn)
	return errCut
}

// resetConn drops a connection with a RST, and not what is wrapped around it.
func resetConn(conn net.Conn) {
	for {
		around, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = around.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
