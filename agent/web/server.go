// Package web is the admin face of an agent: its metrics, health, reload and
// the status API in Prometheus' shapes, over HTTP.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/prometheus/config"
	sloggokit "github.com/tjhop/slog-gokit"
	"go.yaml.in/yaml/v2"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/receive"
	"github.com/opstrace/opstrace-agent/agent/redact"
)

const (
	// readHeaderTimeout and idleTimeout are short, because a connection costs
	// memory and a file. A client that asks every minute opens another.
	readHeaderTimeout     = 5 * time.Second
	idleTimeout           = 30 * time.Second
	defaultReadTimeout    = 5 * time.Minute
	defaultMaxConnections = 512
	// maxHeader of a request, in bytes, to which net/http adds 4 KiB. While a header is
	// being read it takes more than twice its length of memory: with net/http's default,
	// a MiB, so many connections together take more than a gigabyte.
	maxHeader = 16 << 10
	// stopGrace is what running requests get at the end. It is short because
	// the process as a whole has five seconds.
	stopGrace = 2 * time.Second
)

// Options of a Server.
type Options struct {
	Logger log.Logger // nil: none
	// Agent is what the server shows.
	Agent *agent.Agent
	// Gatherer is what /metrics serves.
	Gatherer prometheus.Gatherer
	// PrintConfig turns a configuration into YAML without its secrets. Nil: the
	// configuration is not shown.
	PrintConfig func(*config.Config) (string, error)
	// Flags of the command line with their values, as the status shows them.
	Flags map[string]string
	// Reload reads the configuration anew and applies it. Its error is the
	// answer to whoever asked. It returns early when the context ends.
	Reload func(context.Context) error

	// RemoteWrite and OTLP answer programs that send samples. Nil: that is not enabled.
	RemoteWrite, OTLP http.Handler
	// Senders are these programs; nil: there are none.
	Senders func() []receive.Sender

	// ListenAddresses are of the form host:port, or unix: and a path. The configuration
	// file does not concern the latter.
	ListenAddresses []string
	// ConfigFile is exporter-toolkit's web configuration (TLS, client
	// certificates, basic authentication). It is read again at every request.
	// Empty: plain HTTP for everyone who can reach the address.
	ConfigFile string
	// ExternalURL is where others reach this server; nil: the first listen
	// address, by https if ConfigFile has TLS. Its host replaces localhost in globalUrl of the targets.
	ExternalURL *url.URL
	// RoutePrefix is the path below which everything is served. Default: "/".
	RoutePrefix string

	// EnableLifecycle allows /-/reload and /-/forget on every address. Without it,
	// only loopback addresses serve them.
	EnableLifecycle bool
	// EnablePprof allows /debug/pprof on every address. Without it, only
	// loopback addresses serve it.
	EnablePprof bool
	// ReadTimeout bounds reading a request. Default: 5 minutes. Its header must
	// come within 5 seconds, and a connection may be idle for 30 seconds, or for
	// this if it is less.
	ReadTimeout time.Duration
	// MaxConnections over all addresses at the same time: above it, the oldest
	// connection without a request is closed for a new one, or, if all have one,
	// that of the oldest request. Default: 512.
	MaxConnections int
}

// Server serves the admin face.
type Server struct {
	opts        Options
	logger      log.Logger
	slog        *slog.Logger
	handler     http.Handler
	listeners   []net.Listener
	connections *connections
	history     *history
	http        *httpMetrics
	gatherer    prometheus.Gatherer // of all that is shown
	fetching    sync.Mutex          // held while a target is asked for somebody
	born        time.Time
}

// New builds the handler and checks the web configuration file. It opens no
// port.
func New(o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = log.NewNopLogger()
	}
	if o.ReadTimeout == 0 {
		o.ReadTimeout = defaultReadTimeout
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = defaultMaxConnections
	}
	if err := web.Validate(o.ConfigFile); err != nil {
		return nil, fmt.Errorf("web configuration file %s: %w", o.ConfigFile, err)
	}
	if o.ExternalURL == nil {
		scheme, err := servedScheme(o.ConfigFile)
		if err != nil {
			return nil, err
		}
		o.ExternalURL = &url.URL{Scheme: scheme, Host: reachableHost(o.ListenAddresses)}
	}
	s := &Server{
		opts:    o,
		logger:  log.With(o.Logger, "component", "web"),
		history: newHistory(),
		born:    time.Now(),
	}
	s.http = newHTTPMetrics(o.Agent.Ready)
	s.gatherer = redact.Gatherer(withPrometheusNames(o.Gatherer, s.http.registry))
	// The logger behind it knows the level in force, so nothing is held back here.
	s.slog = slog.New(sloggokit.NewGoKitHandler(s.logger, slog.LevelDebug))
	s.handler = s.routes()
	return s, nil
}

// servedScheme is https where the web configuration file has TLS, else http.
func servedScheme(configFile string) (string, error) {
	if configFile == "" {
		return "http", nil
	}
	content, err := os.ReadFile(configFile)
	if err != nil {
		return "", fmt.Errorf("cannot read the web configuration file: %w", err)
	}
	var c web.Config
	if err := yaml.Unmarshal(content, &c); err != nil {
		return "", fmt.Errorf("web configuration file %s: %w", configFile, err)
	}
	if c.TLSConfig.IsEnabled() {
		return "https", nil
	}
	return "http", nil
}

// reachableHost is the first listen address, with the name of the host where
// the address means all interfaces.
func reachableHost(listenAddresses []string) string {
	listenAddresses = slices.DeleteFunc(slices.Clone(listenAddresses), func(a string) bool { return strings.HasPrefix(a, SocketPrefix) })
	if len(listenAddresses) == 0 {
		return ""
	}
	host, port, err := net.SplitHostPort(listenAddresses[0])
	if err != nil {
		return listenAddresses[0] // Listen refuses it
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		name, err := os.Hostname()
		if err != nil {
			name = "localhost"
		}
		host = name
	}
	return net.JoinHostPort(host, port)
}

// Handler is the whole admin face without a listener: no authentication, and
// no address that counts as loopback.
func (s *Server) Handler() http.Handler { return s.handler }

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /exposition", s.exposition)
	s.assetRoutes(mux)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.gatherer, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.slog.Handler(), slog.LevelWarn),
		// One broken collector must not hide all the other metrics.
		ErrorHandling: promhttp.ContinueOnError,
	}))
	s.lifecycleRoutes(mux)
	s.apiRoutes(mux)
	s.receiveRoutes(mux)

	h := s.http.instrument(mux)
	if prefix := "/" + strings.Trim(s.opts.RoutePrefix, "/"); prefix != "/" {
		outer := http.NewServeMux()
		outer.Handle(prefix+"/", http.StripPrefix(prefix, h))
		outer.Handle("GET /{$}", http.RedirectHandler(prefix+"/", http.StatusFound))
		h = outer
	}
	// A page of another site must not be able to make a browser on this host
	// send a POST.
	h = http.NewCrossOriginProtection().Handler(h)
	return securityHeaders(s.ownNames(h))
}

// contentSecurityPolicy allows the page its own files and nothing else: no
// inline script or style, and no other host.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// securityHeaders sets what the web configuration file has not set already.
func securityHeaders(next http.Handler) http.Handler {
	headers := map[string]string{
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "deny",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Content-Security-Policy":      contentSecurityPolicy,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range headers {
			if w.Header().Get(name) == "" {
				w.Header().Set(name, value)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// Listen opens the ports, so that an address in use is known before anything
// else has been started. Run calls it if nobody has.
func (s *Server) Listen() error {
	if len(s.opts.ListenAddresses) == 0 {
		return errors.New("no listen address")
	}
	s.connections = newConnections(s.opts.MaxConnections)
	for _, address := range s.opts.ListenAddresses {
		l, err := listen(address)
		if err != nil {
			s.closeListeners()
			return fmt.Errorf("cannot listen: %w", err)
		}
		s.listeners = append(s.listeners, evictingListener{l, s.connections})
	}
	return nil
}

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		l.Close()
	}
	s.listeners = nil
}

// Addrs are the addresses that Listen opened, in the order of
// Options.ListenAddresses.
func (s *Server) Addrs() []net.Addr {
	addrs := make([]net.Addr, 0, len(s.listeners))
	for _, l := range s.listeners {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

// Run serves until the context ends or a listener fails. Running requests get
// two seconds to finish.
func (s *Server) Run(ctx context.Context) error {
	if len(s.listeners) == 0 {
		if err := s.Listen(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var sampling sync.WaitGroup
	sampling.Go(func() { s.history.run(ctx, s.opts.Agent.Status) })
	defer sampling.Wait()
	defer cancel()

	flags := &web.FlagConfig{
		WebListenAddresses: &s.opts.ListenAddresses,
		WebConfigFile:      &s.opts.ConfigFile,
	}
	servers := make([]*http.Server, len(s.listeners))
	errs := make(chan error, len(s.listeners))
	for i, l := range s.listeners {
		// One http.Server for each listener: exporter-toolkit changes the
		// server that it is given, and which listener a request came through
		// decides what it may do.
		servers[i] = s.newServer(ctx, l)
		go func() {
			if l.Addr().Network() == "unix" {
				s.slog.Info("Listening on", "address", l.Addr().String())
				errs <- servers[i].Serve(l) // the file's mode says who may
				return
			}
			errs <- web.Serve(l, servers[i], flags, s.slog)
		}()
	}

	var err error
	running := len(servers)
	select {
	case <-ctx.Done():
	case err = <-errs:
		running--
	}
	cancel()
	s.stop(servers)
	for range running {
		if e := <-errs; err == nil && !errors.Is(e, http.ErrServerClosed) {
			err = e
		}
	}
	s.listeners = nil
	if err != nil {
		return fmt.Errorf("web server: %w", err)
	}
	return nil
}

func (s *Server) newServer(ctx context.Context, l net.Listener) *http.Server {
	return &http.Server{
		Handler:           counted(oneBody(s.handler)),
		MaxHeaderBytes:    maxHeader,
		ReadTimeout:       s.opts.ReadTimeout,
		ReadHeaderTimeout: min(readHeaderTimeout, s.opts.ReadTimeout),
		IdleTimeout:       min(idleTimeout, s.opts.ReadTimeout),
		ConnContext:       withConnection,
		ErrorLog:          slog.NewLogLogger(s.slog.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context {
			return withListener(ctx, l.Addr())
		},
	}
}

// stop ends all servers at the same time.
func (s *Server) stop(servers []*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	done := make(chan struct{})
	for _, srv := range servers {
		go func() {
			defer func() { done <- struct{}{} }()
			if srv.Shutdown(ctx) != nil {
				// A profile or a slow client takes longer than the grace. With TLS,
				// Close would wait for such clients, one after the other.
				s.connections.closeAll()
				srv.Close()
			}
		}()
	}
	for range servers {
		<-done
	}
}
