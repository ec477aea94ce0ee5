package agenttest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Link relays connections to an address, and can be cut.
type Link struct {
	listener net.Listener
	to       string
	wire     atomic.Pointer[Wire]

	relays sync.WaitGroup
	mtx    sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// NewLink listens at a port of loopback. Close it.
func NewLink(to string) (*Link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &Link{listener: listener, to: to, conns: map[net.Conn]bool{}}
	l.relays.Go(func() {
		for {
			conn, err := wireListener{listener, &l.wire}.Accept()
			if err != nil {
				return
			}
			l.relays.Go(func() { l.relay(conn) })
		}
	})
	return l, nil
}

// Addr is where the link begins, host:port.
func (l *Link) Addr() string { return l.listener.Addr().String() }

// SetWire changes what becomes of the bytes, seen from where the link leads to.
func (l *Link) SetWire(w Wire) { l.wire.Store(&w) }

// Close ends all connections.
func (l *Link) Close() {
	_ = l.listener.Close()
	l.mtx.Lock()
	l.closed = true
	for conn := range l.conns {
		_ = conn.Close()
	}
	l.mtx.Unlock()
	l.relays.Wait()
}

// relay ends when either side does.
func (l *Link) relay(near net.Conn) {
	far, err := net.Dial("tcp", l.to)
	if err != nil {
		resetConn(near)
		return
	}
	defer l.forget(near, far)
	if !l.note(near, far) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(near, far)
		_ = near.Close()
	})
	_, _ = io.Copy(far, near)
	_ = far.Close()
	back.Wait()
}

// note keeps connections for Close, and reports whether it was not called before.
func (l *Link) note(conns ...net.Conn) bool {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	for _, conn := range conns {
		l.conns[conn] = true
	}
	return !l.closed
}

func (l *Link) forget(conns ...net.Conn) {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
		delete(l.conns, conn)
	}
}
