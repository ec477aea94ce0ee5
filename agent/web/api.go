package web

import (
	"encoding/json"
	"net/http"

	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// apiRoutes are below /api/v1, in Prometheus' shapes where Prometheus has one.
func (s *Server) apiRoutes(mux *http.ServeMux) {
	for path, f := range map[string]apiFunc{
		"targets":               s.targets,
		"targets/metadata":      s.targetMetadata,
		"targets/relabel_steps": s.relabelSteps,
		"metadata":              s.metricMetadata,
		"scrape_pools":          s.scrapePools,
		"features":              s.features,
		"status/config":         s.statusConfig,
		"status/flags":          s.statusFlags,
		"status/buildinfo":      s.buildInfo,
		"status/runtimeinfo":    s.runtimeInfo,
		"status/self_metrics":   s.selfMetrics,
		"status/delivery":       s.delivery,
		"status/senders":        func(*http.Request) (any, *apiError) { return s.senders(), nil },
	} {
		mux.Handle("GET /api/v1/"+path, s.api(f))
	}
	for path, methods := range unavailablePaths {
		for _, method := range methods {
			mux.Handle(method+" /api/v1/"+path, s.api(unavailable))
		}
	}
}

// apiFunc answers one request with data that can be encoded as JSON.
type apiFunc func(*http.Request) (any, *apiError)

// response is Prometheus' envelope.
type response struct {
	Status    string `json:"status"` // success or error
	Data      any    `json:"data,omitempty"`
	ErrorType string `json:"errorType,omitempty"`
	Error     string `json:"error,omitempty"`
}

// apiError is an error with its HTTP status and Prometheus' name for its kind:
// bad_data, execution, internal or unavailable.
type apiError struct {
	code int
	kind string
	msg  string
}

var errNotReady = &apiError{http.StatusServiceUnavailable, "unavailable", "the agent is not scraping yet; /-/ready tells when"}

func badData(msg string) *apiError { return &apiError{http.StatusBadRequest, "bad_data", msg} }

func (s *Server) api(f apiFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, apiErr := f(r)
		code, resp := http.StatusOK, response{Status: "success", Data: data}
		if apiErr != nil {
			code, resp = apiErr.code, response{Status: "error", ErrorType: apiErr.kind, Error: apiErr.msg}
		}
		// Encoded before the header is sent, so that a value without a JSON
		// form becomes an error and not half an answer.
		b, err := json.Marshal(resp)
		if err != nil {
			level.Error(s.logger).Log("msg", "Cannot encode an answer", "path", r.URL.Path, "err", err)
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if err := send(w, r, code, "application/json", b); err != nil {
			level.Debug(s.logger).Log("msg", "Cannot send an answer", "path", r.URL.Path, "err", err)
		}
	})
}

// delivery shows storage, backlog and every destination. Unlike the targets it
// is there before the agent is ready: it says what the agent waits for.
func (s *Server) delivery(*http.Request) (any, *apiError) {
	st := s.opts.Agent.Status()
	for i := range st.Destinations {
		st.Destinations[i].Why = redact.Text(st.Destinations[i].Why)
		st.Destinations[i].LastError = redact.Text(st.Destinations[i].LastError)
	}
	return st, nil
}
