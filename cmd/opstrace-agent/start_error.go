package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/coreos/go-systemd/v22/journal"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// listenError is an address of --web.listen-address that cannot be had.
type listenError struct{ err error }

func (e *listenError) Error() string { return e.err.Error() }
func (e *listenError) Unwrap() error { return e.err }

// hint tells what to do. The same addresses are tried again at every start, so
// without that a service would start over for ever.
func (e *listenError) hint() string {
	const choose = "choose another with --web.listen-address (an installed service: in ARGS in /etc/default/opstrace-agent)"
	var address *net.TCPAddr
	if op := (*net.OpError)(nil); errors.As(e.err, &op) {
		address, _ = op.Addr.(*net.TCPAddr)
	}
	switch {
	case errors.Is(e.err, syscall.EADDRINUSE) && address != nil:
		return fmt.Sprintf("another process has this port: 'ss -ltnp sport = :%d', as root, names it; stop that one, or %s", address.Port, choose)
	case errors.Is(e.err, syscall.EACCES):
		return "ports below 1024 are root's: " + choose
	case errors.Is(e.err, syscall.EADDRNOTAVAIL):
		return "this host does not have that address: " + choose
	}
	return "write it like 127.0.0.1:9095, or " + choose
}

// errorWriter is where errors are written for a person or, if standard error is
// systemd's journal, with its priority for "journalctl -p err".
func (c *cli) errorWriter() io.Writer {
	// An error means that the journal is not the reader.
	if journaled, _ := journal.StderrIsJournalStream(); journaled {
		return &prefixWriter{c.stderr, priorities[len(priorities)-1]}
	}
	return c.stderr
}

// notifyFailure makes the reason the status of a service that does not start:
// "systemctl status" shows it while the next start is awaited.
func notifyFailure(err error) {
	if err != nil {
		// Standard error has it as well.
		_, _ = daemon.SdNotify(false, "STATUS="+redact.Text(err.Error()))
	}
}
