package agenttest

import (
	"net"
	"net/http"
)

// SwitchProtocols answers 101 Switching Protocols, which nobody asked for, and keeps the
// connection until hold returns.
func SwitchProtocols(w http.ResponseWriter, hold func(net.Conn)) error {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, keep-alive\r\nUpgrade: x\r\n\r\n"))
	hold(conn)
	return nil
}

// UntilEnded holds a connection until the other side ends it.
func UntilEnded(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) }
