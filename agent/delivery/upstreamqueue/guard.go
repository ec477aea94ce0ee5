package upstreamqueue

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"sync"

	"go.opentelemetry.io/otel/trace"
)

// guard closes the connection of a request whose time is over. Upstream reads every
// answer to its end, and that of a 101 Switching Protocols is the connection itself,
// which its context does not reach: the queue would send nothing any more, and could
// not be stopped. Closed, that answer ends, and is an answer like another: nothing is
// left behind that could send something later. Other answers lose nothing: net/http
// closes their connection itself when their context ends.
type guard struct {
	mtx  sync.Mutex
	conn net.Conn // of the request; net/http may have taken another before
	over bool
}

// guarded returns a context to make one request in, until stop is called.
func guarded(ctx context.Context) (_ context.Context, stop func()) {
	g := new(guard)
	unwatch := context.AfterFunc(ctx, g.close)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { g.got(info.Conn) },
	}), func() { unwatch() }
}

func (g *guard) got(conn net.Conn) {
	if c, ok := conn.(*tls.Conn); ok && c.ConnectionState().NegotiatedProtocol == "h2" {
		return // it is shared, and there is no switching
	}
	g.mtx.Lock()
	defer g.mtx.Unlock()
	g.conn = conn
	if g.over {
		_ = conn.Close()
	}
}

func (g *guard) close() {
	g.mtx.Lock()
	defer g.mtx.Unlock()
	g.over = true
	if g.conn != nil {
		_ = g.conn.Close()
	}
}

// request is the span of one request. It ends when its answer has been read.
type request struct {
	trace.Span // the user's

	unguard func()
}

// End implements trace.Span.
func (r *request) End(opts ...trace.SpanEndOption) {
	r.unguard()
	r.Span.End(opts...)
}
