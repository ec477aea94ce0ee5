package web

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// writeTimeout bounds each write to a connection, and not a whole answer: a
// profile takes as long as it is asked to, but a client that does not read ends.
const writeTimeout = 30 * time.Second

// connections are the open connections of all addresses. When there are as many
// as there may be, a new one takes the place of another: to let it wait for them
// would leave health checks without an answer until the slowest client goes.
type connections struct {
	most int

	mtx  sync.Mutex
	open map[*connection]struct{}
}

func newConnections(most int) *connections {
	return &connections{most: most, open: map[*connection]struct{}{}}
}

// connection of a client. Its load is guarded by the mtx of all.
type connection struct {
	net.Conn

	all  *connections
	load load
}

// load is what a connection is doing.
type load struct {
	requests int       // that a handler is working on
	since    time.Time // of the last change, or of the beginning
}

// lessMissed reports whether a connection that does a is to go before one that
// does b: one that has asked nothing yet, or nothing more, and then the one that
// has gone on for longest.
func lessMissed(a, b load) bool {
	if (a.requests == 0) != (b.requests == 0) {
		return a.requests == 0
	}
	return a.since.Before(b.since)
}

// add makes room for c, and counts it.
func (cs *connections) add(c *connection) {
	cs.mtx.Lock()
	var victim *connection
	if len(cs.open) >= cs.most {
		for o := range cs.open {
			if victim == nil || lessMissed(o.load, victim.load) {
				victim = o
			}
		}
		delete(cs.open, victim)
	}
	cs.open[c] = struct{}{}
	cs.mtx.Unlock()
	if victim != nil {
		victim.Conn.Close() // the client is not there to be told
	}
}

// closeAll closes the connections themselves, without a farewell.
func (cs *connections) closeAll() {
	cs.mtx.Lock()
	defer cs.mtx.Unlock()
	for c := range cs.open {
		c.Conn.Close()
	}
}

// change counts requests that begin (1) and end (-1).
func (c *connection) change(by int) {
	c.all.mtx.Lock()
	defer c.all.mtx.Unlock()
	c.load.requests += by
	c.load.since = time.Now()
}

// Write implements net.Conn.
func (c *connection) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.all.mtx.Lock()
	delete(c.all.open, c)
	c.all.mtx.Unlock()
	return c.Conn.Close()
}

// evictingListener accepts at once, whatever the number of connections.
type evictingListener struct {
	net.Listener

	all *connections
}

// Accept implements net.Listener.
func (l evictingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: conn, all: l.all, load: load{since: time.Now()}}
	l.all.add(c)
	return c, nil
}

// connectionKey is the context key of the connection of a request.
type connectionKey struct{}

// withConnection is an http.Server's ConnContext.
func withConnection(ctx context.Context, conn net.Conn) context.Context {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if c, ok := conn.(*connection); ok {
		return context.WithValue(ctx, connectionKey{}, c)
	}
	return ctx
}

// counted tells the connection of each request that a handler is at work.
func counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
			c.change(1)
			defer c.change(-1)
		}
		next.ServeHTTP(w, r)
	})
}
