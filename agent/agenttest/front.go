package agenttest

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// requestsPerConnection is nginx' keepalive_requests of the time.
const requestsPerConnection = 100

// drainTimeout is what requests in flight have to end when the endpoint goes down.
const drainTimeout = 500 * time.Millisecond

// front is one listening port that can go away and come back.
type front struct {
	handler http.Handler
	tls     *tls.Config // nil for plain http
	wire    *atomic.Pointer[Wire]
	addr    *net.TCPAddr

	mu     sync.Mutex
	server *http.Server // nil while down
	held   *os.File     // the port's socket while down
	served sync.WaitGroup
}

func newFront(addr string, config *tls.Config, wire *atomic.Pointer[Wire], handler http.Handler) (*front, error) {
	listener, err := listenHoldable(addr)
	if err != nil {
		return nil, err
	}
	f := &front{handler: handler, tls: config, wire: wire, addr: listener.Addr().(*net.TCPAddr)}
	f.serve(listener)
	return f, nil
}

// connection is what is known of a connection, in the context of its requests.
type connection struct {
	requests atomic.Int64
	since    time.Time
}

type connectionKey struct{}

func connectionOf(r *http.Request) *connection {
	return r.Context().Value(connectionKey{}).(*connection)
}

func (f *front) serve(listener net.Listener) {
	f.server = &http.Server{
		Handler: f.handler,
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, &connection{since: time.Now()})
		},
		// Failed handshakes are what some tests are after, not news.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	listener = wireListener{listener, f.wire}
	if f.tls != nil {
		listener = tls.NewListener(listener, f.tls)
	}
	server := f.server
	f.served.Go(func() { _ = server.Serve(listener) })
}

func (f *front) down() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.server == nil {
		return nil
	}
	// First, so that the port is free at no moment.
	var err error
	f.held, err = holdPort(f.addr)
	f.end()
	f.server = nil
	return err
}

// end lets the requests in flight end, so that what was stored was acknowledged: a
// test could not tell it from a sample sent twice. Those that hang are cut off.
func (f *front) end() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if f.server.Shutdown(ctx) != nil {
		_ = f.server.Close()
	}
	f.served.Wait()
}

func (f *front) up() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.server != nil {
		return nil
	}
	if f.held == nil { // the port could not be held, and is perhaps free
		listener, err := net.ListenTCP("tcp", f.addr)
		if err != nil {
			return err
		}
		f.serve(listener)
		return nil
	}
	listener, err := listenOn(f.held)
	f.held = nil
	if err != nil {
		return err
	}
	f.serve(listener)
	return nil
}

func (f *front) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.server != nil {
		_ = f.server.Close()
		f.served.Wait()
	}
	if f.held != nil {
		_ = f.held.Close()
	}
}
