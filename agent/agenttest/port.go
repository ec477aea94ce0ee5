package agenttest

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenHoldable listens on an address that holdPort can bind beside it.
func listenHoldable(addr string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}); cerr != nil {
			return cerr
		}
		return err
	}}
	return lc.Listen(context.Background(), "tcp", addr)
}

// holdPort binds an address without listening on it. While an endpoint is down
// its port must stay its own: the kernel gives free ports to whoever connects or
// listens next, and the endpoint could not come up again.
func holdPort(addr *net.TCPAddr) (*os.File, error) {
	family, sockaddr := syscall.AF_INET6, syscall.Sockaddr(nil)
	if ip := addr.IP.To4(); ip != nil {
		family, sockaddr = syscall.AF_INET, &syscall.SockaddrInet4{Port: addr.Port, Addr: [4]byte(ip)}
	} else {
		sockaddr = &syscall.SockaddrInet6{Port: addr.Port, Addr: [16]byte(addr.IP.To16())}
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot hold %s: %w", addr, err)
	}
	syscall.CloseOnExec(fd)
	// Without this the connections that a dropped listener leaves in TIME_WAIT
	// keep the port from being bound.
	if err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err == nil {
		// Before the listener is closed; it has this option too.
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if err == nil {
		err = syscall.Bind(fd, sockaddr)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return nil, fmt.Errorf("cannot hold %s: %w", addr, err)
	}
	return os.NewFile(uintptr(fd), addr.String()), nil
}

// listenOn turns a held port into a listener and gives the hold up.
func listenOn(held *os.File) (net.Listener, error) {
	defer held.Close()
	if err := syscall.Listen(int(held.Fd()), syscall.SOMAXCONN); err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", held.Name(), err)
	}
	listener, err := net.FileListener(held)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", held.Name(), err)
	}
	return listener, nil
}
