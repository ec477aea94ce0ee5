// Package switching ends answers 101 Switching Protocols, which nobody asked for.
// net/http gives such an answer the connection itself for a body: who reads it to its
// end waits for as long as the peer likes, and neither a timeout nor a stop reaches it.
package switching

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// Dialer connects like net.Dialer. Each answer that comes over its connections ends
// with an error when it has not come to its end some time after it was asked for,
// whatever its timeout says; most is asked for that time at each request. One that is
// a 101 fails at once, where it is not encrypted: then nobody can look inside.
func Dialer(dialer *net.Dialer, most func() time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return NewConn(conn, most), nil
	}
}

// NewConn is a connection of Dialer's over one that is there.
func NewConn(c net.Conn, most func() time.Duration) net.Conn {
	return &conn{Conn: c, most: most}
}

// ErrSwitched is the end of a connection whose peer answers 101.
var ErrSwitched = errors.New("the answer is 101 Switching Protocols, which was not asked for")

type conn struct {
	net.Conn

	most func() time.Duration

	mtx sync.Mutex // a request is written while the last answer's end is awaited
	begin
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	c.mtx.Lock()
	c.begin = begin{}
	c.mtx.Unlock()
	if err := c.SetReadDeadline(time.Now().Add(c.most())); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mtx.Lock()
	defer c.mtx.Unlock()
	if c.look(b[:n]); c.switches {
		return 0, ErrSwitched
	}
	return n, err
}

// begin is what is known of an answer by how it begins: with other answers 1xx, perhaps,
// which are not its own yet.
type begin struct {
	status   []byte // without blanks, as far as it is needed
	header   bool   // of an answer 1xx is being read
	inLine   bool   // of that header, which is not empty
	known    bool   // what the answer is; the rest is of no interest
	switches bool
}

// statusEnd is where the status of an answer ends, blanks left out: there may be many.
const statusEnd = len("HTTP/1.1101")

// look reads on.
func (g *begin) look(more []byte) {
	for _, b := range more {
		switch {
		case g.known:
			return
		case g.header:
			g.lookAtHeader(b)
		case b != ' ':
			if g.status = append(g.status, b); len(g.status) == statusEnd {
				g.judge()
			}
		}
	}
}

func (g *begin) judge() {
	version, code := g.status[:statusEnd-3], g.status[statusEnd-3:]
	switch {
	case !bytes.HasPrefix(version, []byte("HTTP/")):
		g.known = true
	case string(code) == "101":
		g.known, g.switches = true, true
	case code[0] == '1':
		g.header, g.inLine = true, true
	default:
		g.known = true
	}
}

// lookAtHeader waits for the empty line, behind which the next answer begins.
func (g *begin) lookAtHeader(b byte) {
	switch {
	case b != '\n' && b != '\r':
		g.inLine = true
	case b == '\n' && g.inLine:
		g.inLine = false
	case b == '\n':
		*g = begin{}
	}
}
