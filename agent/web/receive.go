package web

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/opstrace/opstrace-agent/agent/receive"
)

// Where programs send samples, below the route prefix.
const (
	remoteWritePath = "/api/v1/write"
	otlpPath        = "/api/v1/otlp/v1/metrics"
)

// receiveRoutes are where programs send samples to.
func (s *Server) receiveRoutes(mux *http.ServeMux) {
	for path, h := range map[string]struct {
		http.Handler
		refusal string // Prometheus' words
	}{
		remoteWritePath: {s.opts.RemoteWrite, "remote write receiver needs to be enabled with --web.enable-remote-write-receiver"},
		otlpPath:        {s.opts.OTLP, "otlp write receiver needs to be enabled with --web.enable-otlp-receiver"},
	} {
		if h.Handler == nil {
			h.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Connection", "close") // the body is not read
				http.Error(w, h.refusal, http.StatusNotFound)
			})
		}
		mux.Handle("POST "+path, h)
	}
}

// senders are the programs that have sent samples; none where they may not.
func (s *Server) senders() []receive.Sender {
	if s.opts.Senders == nil {
		return []receive.Sender{}
	}
	return s.opts.Senders()
}

// isReceive reports whether samples are sent to a path, below whatever prefix. Such a
// request has a body, and bounds of its own.
func isReceive(path string) bool {
	return strings.HasSuffix(path, remoteWritePath) || strings.HasSuffix(path, otlpPath)
}

// socketMode lets everyone in who reaches the socket's directory: that one's mode and group
// say who that is, as systemd sets them (RuntimeDirectoryMode).
const socketMode = 0o666

// SocketPrefix is of the address of a socket.
const SocketPrefix = "unix:"

// listen opens an address: host:port, or unix: and the path of a socket.
func listen(address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, SocketPrefix)
	if !isUnix {
		return net.Listen("tcp", address)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes a socket that a process has left behind which was killed. What is no
// socket, or is listened at, stays.
func removeStale(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("%s is there already, and is no socket", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return fmt.Errorf("another process listens at %s", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
