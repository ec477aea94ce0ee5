package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"

	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/number"
	"github.com/opstrace/opstrace-agent/agent/verdict"
)

func (s *Server) lifecycleRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /-/healthy", s.healthy)
	mux.HandleFunc("GET /-/ready", s.ready)

	const noLifecycle = "Lifecycle API is not enabled.\nhint: ask through a loopback address, or start with --web.enable-lifecycle"
	reload := s.guarded(s.opts.EnableLifecycle, noLifecycle, s.reload)
	mux.Handle("POST /-/reload", reload)
	mux.Handle("PUT /-/reload", reload)
	mux.Handle("POST /-/forget", s.guarded(s.opts.EnableLifecycle, noLifecycle, s.forget))

	for pattern, h := range map[string]http.HandlerFunc{
		"GET /debug/pprof/":        pprof.Index,
		"GET /debug/pprof/cmdline": pprof.Cmdline,
		"GET /debug/pprof/profile": pprof.Profile,
		"GET /debug/pprof/trace":   pprof.Trace,
		"GET /debug/pprof/symbol":  pprof.Symbol,
		"POST /debug/pprof/symbol": pprof.Symbol,
	} {
		mux.Handle(pattern, s.guarded(s.opts.EnablePprof,
			"Profiling is not enabled.\nhint: ask through a loopback address, or start with --web.enable-pprof", h))
	}
}

// healthy answers as soon as the process serves: it tells nothing about
// endpoints or targets.
func (s *Server) healthy(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, "opstrace-agent is Healthy.\n")
}

// ready answers 200 once storage is open, the configuration is applied and
// scraping has begun. It tells nothing about endpoints.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.opts.Agent.Ready() {
		io.WriteString(w, "opstrace-agent is Ready.\n")
		return
	}
	msg := "Service Unavailable"
	if waiting := s.opts.Agent.Status().Waiting; waiting != "" {
		msg += ": " + waiting
	}
	http.Error(w, msg, http.StatusServiceUnavailable)
}

// reload says what of the configuration waits for a restart; else its answer is empty, as
// that of Prometheus.
func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if err := s.opts.Reload(r.Context()); err != nil {
		level.Debug(s.logger).Log("msg", "Answered a reload with an error", "remote", r.RemoteAddr)
		http.Error(w, fmt.Sprintf("failed to reload config: %s", err), http.StatusInternalServerError)
		return
	}
	for _, p := range s.opts.Agent.Status().Verdict.Problems {
		if p.Kind == verdict.RestartNeeded {
			fmt.Fprintf(w, "%s\nhint: %s\n", p.Text, p.Hint)
		}
	}
}

// forget drops what is kept for the destination that the query names.
func (s *Server) forget(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("destination")
	samples, err := s.opts.Agent.Forget(name)
	switch {
	case err == nil:
		fmt.Fprintf(w, "Dropped %s samples that were kept for %s.\n", number.Group(samples), name)
	case errors.Is(err, delivery.ErrNotKept):
		http.Error(w, fmt.Sprintf("%s\nhint: %s", err, keptNames(s.opts.Agent.Status())), http.StatusNotFound)
	case errors.Is(err, delivery.ErrConfigured):
		http.Error(w, fmt.Sprintf("%s\nhint: take it out of the configuration and reload first", err), http.StatusConflict)
	default:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// keptNames says what there is to be forgotten.
func keptNames(st agent.Status) string {
	if len(st.Kept) == 0 {
		return "no destination is gone from the configuration"
	}
	var names []string
	for _, k := range st.Kept {
		names = append(names, strconv.Quote(k.Name))
	}
	return "gone from the configuration: " + strings.Join(names, ", ")
}

// guarded serves h to everyone when enabled, and else only to those who came
// through a loopback listener; never for another site.
func (s *Server) guarded(enabled bool, refusal string, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if forAnotherSite(r) {
			http.Error(w, "Another site asks for this.\nhint: type the address, or go there from the status page", http.StatusForbidden)
			return
		}
		if !enabled && !fromLoopback(r) {
			http.Error(w, refusal, http.StatusForbidden)
			return
		}
		h(w, r)
	})
}

// forAnotherSite reports whether a browser asks because a page of another site made it:
// even what that page cannot read must not cost a profile or ask a target.
func forAnotherSite(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site != "" && site != "same-origin" && site != "none"
}

// loopbackKey is the context key that marks requests through a loopback
// listener.
type loopbackKey struct{}

func withListener(ctx context.Context, addr net.Addr) context.Context {
	tcp, ok := addr.(*net.TCPAddr)
	return context.WithValue(ctx, loopbackKey{}, ok && tcp.IP.IsLoopback() || addr.Network() == "unix")
}

// fromLoopback reports whether a request came through a listener that only this
// host can reach, under a name that can only mean this host. The listener
// counts and not the client's address: behind a proxy on this host every client
// is local. The name counts because a web page can point a name of its own at
// 127.0.0.1 and have a browser on this host send requests here, which are not
// even cross-origin then.
func fromLoopback(r *http.Request) bool {
	if local, _ := r.Context().Value(loopbackKey{}).(bool); !local {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(trimBrackets(host))
	return ip != nil && ip.IsLoopback()
}

func trimBrackets(host string) string {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}
