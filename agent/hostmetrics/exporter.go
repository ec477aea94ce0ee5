package hostmetrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/node_exporter/collector"
)

// Exporter answers scrapes of this host. All its methods are for concurrent use.
type Exporter struct {
	collectors Collectors
	server     *http.Server
	conns      chan net.Conn
	closed     chan struct{}
	close      func()
	served     chan struct{} // closed when it accepts no more
}

var (
	configure sync.Mutex // of what is global: the collectors' flags, and guards
	flagsSet  []string   // nil: none yet
)

// Open makes an exporter with these collectors, on top of node_exporter's defaults. Errors
// are a *SettingError, or what a collector says that cannot begin. A collector takes its
// options once, when it is made for the first time.
func Open(cs Collectors, logger *slog.Logger) (*Exporter, error) {
	if err := cs.Check(); err != nil {
		return nil, err
	}
	configure.Lock()
	defer configure.Unlock()
	// A collector that hangs since the last time may read flags while they are set again.
	if flags := cs.withDefaults().flags(); flagsSet == nil || !slices.Equal(flags, flagsSet) {
		if _, err := kingpin.CommandLine.Parse(flags); err != nil {
			return nil, fmt.Errorf("cannot set the collectors: %w", err)
		}
		flagsSet = flags
	}
	node, err := collector.NewNodeCollector(slog.New(newQuiet(logger.Handler())))
	if err != nil {
		return nil, fmt.Errorf("cannot make the collectors: %w", err)
	}
	guarded(node.Collectors)
	registry := prometheus.NewRegistry()
	if err := registry.Register(node); err != nil {
		return nil, fmt.Errorf("cannot register the collectors: %w", err)
	}
	e := &Exporter{collectors: cs, conns: make(chan net.Conn), closed: make(chan struct{}), served: make(chan struct{})}
	e.close = sync.OnceFunc(func() { close(e.closed) })
	handler := promhttp.HandlerFor(outside{registry}, promhttp.HandlerOpts{
		ErrorLog:           slog.NewLogLogger(logger.Handler(), slog.LevelError),
		ErrorHandling:      promhttp.ContinueOnError, // what one collector cannot read costs the others nothing
		DisableCompression: true,                     // it goes from memory to memory
	})
	e.server = &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelError)}
	go func() {
		defer close(e.served)
		_ = e.server.Serve(listener{e}) // it ends with the listener
	}()
	return e, nil
}

// Close ends all connections.
func (e *Exporter) Close() error {
	e.close()
	<-e.served
	return e.server.Close()
}

// Dial connects to the exporter.
func (e *Exporter) Dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case e.conns <- theirs:
		return ours, nil
	case <-e.closed:
	case <-ctx.Done():
	}
	return nil, errors.Join(ours.Close(), theirs.Close(), context.Cause(ctx), net.ErrClosed)
}

// listener is the exporter's end of what is dialled.
type listener struct{ *Exporter }

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l listener) Close() error {
	l.close()
	return nil
}

// Addr implements net.Listener.
func (listener) Addr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "memory" }
func (addr) String() string  { return Address }
