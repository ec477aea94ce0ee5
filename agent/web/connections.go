package web

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// writeTimeout bounds each write to a connection, and not a whole answer: a
// profile takes as long as it is asked to, but a client that does not read ends.
const writeTimeout = 30 * time.Second

// mostLarge is how many large answers are worked on at the same time. One that nobody
// reads takes some 100 KiB until writeTimeout is over: hundreds of them would take the
// memory that the scrapes need.
const mostLarge = 32

// connections are the open connections of all addresses. When there are as many
// as there may be, a new one takes the place of another: to let it wait for them
// would leave health checks without an answer until the slowest client goes.
type connections struct {
	most int

	mtx  sync.Mutex
	open map[*connection]struct{}
	// working has room for mostLarge large answers.
	working chan struct{}
}

func newConnections(most int) *connections {
	return &connections{most: most, open: map[*connection]struct{}{}, working: make(chan struct{}, mostLarge)}
}

// connection of a client. Its load is guarded by the mtx of all.
type connection struct {
	net.Conn

	all     *connections
	load    load
	evicted chan struct{} // closed when another takes its place
}

// load is what a connection is doing.
type load struct {
	requests int       // that a handler is working on
	large    int       // of them, those whose answer may be large
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
	victim.evict()
}

// evict ends a connection that has been taken out; mtx is not held any more. nil:
// there is none. What is being written ends with an error.
func (c *connection) evict() {
	if c == nil {
		return
	}
	close(c.evicted)
	c.Conn.Close() // the client is not there to be told
}

// closeAll closes the connections themselves, without a farewell.
func (cs *connections) closeAll() {
	cs.mtx.Lock()
	defer cs.mtx.Unlock()
	for c := range cs.open {
		c.Conn.Close()
	}
}

// change counts requests that begin (1) and end (-1). A large one too many takes the
// place of the connection whose large request is the oldest.
func (c *connection) change(by int, large bool) {
	c.all.mtx.Lock()
	c.load.requests += by
	c.load.since = time.Now()
	var victim *connection
	if large {
		c.load.large += by
		victim = c.all.overdue(c)
	}
	c.all.mtx.Unlock()
	victim.evict()
}

// overdue takes the connection with the oldest large request out, if there are too many
// of these; nil: there are not. It is not that of the latest one, but where that has
// them all. Callers hold mtx.
func (cs *connections) overdue(latest *connection) *connection {
	large := 0
	var oldest *connection
	for o := range cs.open {
		large += o.load.large
		if o != latest && o.load.large > 0 && (oldest == nil || lessMissed(o.load, oldest.load)) {
			oldest = o
		}
	}
	if large <= mostLarge {
		return nil
	}
	if oldest == nil {
		oldest = latest
	}
	delete(cs.open, oldest)
	return oldest
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
	c := &connection{Conn: conn, all: l.all, load: load{since: time.Now()}, evicted: make(chan struct{})}
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

// counted tells the connection of each request that a handler is at work. A large answer
// waits until one that it takes the place of has ended.
func counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(connectionKey{}).(*connection)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		large := !isHealth(r.URL.Path) && !isReceive(r.URL.Path)
		c.change(1, large)
		defer c.change(-1, large)
		if large {
			select {
			case c.all.working <- struct{}{}:
				defer func() { <-c.all.working }()
			case <-c.evicted:
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// oneBody closes a connection behind a request that has a body, which hardly any has
// here: what another server, on the way, took for a part of that body, because it read
// its length from another header, must not become a request. Who sends samples, with a
// length that is beyond doubt, keeps its connection.
func oneBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 && r.ContentLength != 0 && !(isReceive(r.URL.Path) && r.ContentLength > 0) { // -1: in chunks
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// isHealth reports whether a path, below whatever prefix, is of a health check: its
// answer is a line.
func isHealth(path string) bool {
	return strings.HasSuffix(path, "/-/healthy") || strings.HasSuffix(path, "/-/ready")
}
