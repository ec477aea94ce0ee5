package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// handler is the control API:
//
//	POST /control/respond?status=503&for=10s   answer every push so, for a while
//	POST /control/respond?status=409&count=1   … the next push
//	     also body=, retry_after=, delay=, linger= (durations), store=true (take
//	     the samples nevertheless), reset=true (reset the connection instead)
//	POST /control/recover                      answer as usual again
//	POST /control/down, /control/up            close and reopen the port
//	POST /control/token?token=x                replace the token, and its file
//	     unless write=false; without token= the tenant is locked out
//	POST /control/tls?state=untrusted          trusted, untrusted, refused
//	GET  /control/stats                        what arrived
//	GET  /control/query?query=up               an expression of PromQL over it, now
func (s *sandbox) handler() http.Handler {
	mux := http.NewServeMux()
	act := func(name string, action func(url.Values) error) {
		mux.HandleFunc("POST /control/"+name, func(w http.ResponseWriter, r *http.Request) {
			if err := action(r.URL.Query()); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		})
	}
	act("respond", s.respond)
	act("recover", func(url.Values) error { s.endpoint.Recover(); return nil })
	act("down", func(url.Values) error { return s.endpoint.Down() })
	act("up", func(url.Values) error { return s.endpoint.Up() })
	act("token", s.setToken)
	act("tls", func(q url.Values) error {
		state, ok := tlsStates[q.Get("state")]
		if !ok {
			return fmt.Errorf("unknown state %q", q.Get("state"))
		}
		s.endpoint.SetTLS(state)
		return nil
	})
	mux.HandleFunc("GET /control/stats", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(s.stats())
	})
	mux.HandleFunc("GET /control/query", s.query)
	return mux
}

// query answers with a list of labels and values.
func (s *sandbox) query(w http.ResponseWriter, r *http.Request) {
	vector, err := s.endpoint.Snapshot().Query(r.Context(), r.FormValue("query"), time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	type result struct {
		Labels map[string]string `json:"labels"`
		Value  string            `json:"value"` // JSON has no NaN
	}
	results := []result{}
	for _, sample := range vector {
		results = append(results, result{sample.Metric.Map(), strconv.FormatFloat(sample.F, 'g', -1, 64)})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(results)
}

func (s *sandbox) respond(q url.Values) error {
	p := params{q: q}
	a := agenttest.Answer{
		Status: p.int("status"), Body: q.Get("body"), Delay: p.duration("delay"), Linger: p.duration("linger"),
		Store: p.bool("store"), Reset: p.bool("reset"),
	}
	if v := q.Get("retry_after"); v != "" {
		a.Header = http.Header{"Retry-After": {v}}
	}
	count, during := p.int("count"), p.duration("for")
	switch {
	case p.err != nil:
		return p.err
	case a.Status != 0 && (a.Status < 200 || a.Status > 599):
		return fmt.Errorf("status %d is none", a.Status)
	case count < 0 || during < 0:
		return errors.New("count and for are positive")
	case count > 0 && during > 0:
		return errors.New("either count or for")
	case count > 0:
		for range count {
			s.endpoint.RespondNext(a)
		}
	case during > 0:
		s.endpoint.RespondFor(during, a)
	default:
		s.endpoint.Respond(a)
	}
	return nil
}

func (s *sandbox) setToken(q url.Values) error {
	token := q.Get("token")
	if token == "" {
		s.endpoint.SetToken(agenttest.DefaultTenant)
		return nil
	}
	s.endpoint.SetToken(agenttest.DefaultTenant, token)
	if q.Get("write") == "false" {
		return nil
	}
	return s.writeToken(token)
}

// params reads optional parameters and keeps the first error.
type params struct {
	q   url.Values
	err error
}

func read[T any](p *params, name string, parse func(string) (T, error)) (v T) {
	if !p.q.Has(name) {
		return v
	}
	v, err := parse(p.q.Get(name))
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("%s: %w", name, err)
	}
	return v
}

func (p *params) int(name string) int { return read(p, name, strconv.Atoi) }

func (p *params) bool(name string) bool { return read(p, name, strconv.ParseBool) }

func (p *params) duration(name string) time.Duration { return read(p, name, time.ParseDuration) }

// stats are what arrived, as /control/stats shows it.
type stats struct {
	Tenants     map[string]tenantStats `json:"tenants"`
	Targets     map[string]targetStats `json:"targets"`
	MaxInFlight int                    `json:"max_in_flight"`
	InOrder     bool                   `json:"in_order"`
	Disorder    string                 `json:"disorder,omitempty"` // what is not
}

// tenantStats count samples, but for Series, Exemplars and the requests in
// Answers. The tenant "" is whoever has no valid token.
type tenantStats struct {
	Series       int                        `json:"series"`
	Accepted     int64                      `json:"accepted"`     // stored
	Acknowledged int64                      `json:"acknowledged"` // in requests answered with 2xx
	Duplicates   int64                      `json:"duplicates"`   // arrived again
	Refused      map[agenttest.Reason]int64 `json:"refused"`
	AlreadyThere int64                      `json:"refused_already_there"`
	Unknown      int64                      `json:"refused_unknown"`
	Lost         int                        `json:"lost"` // refused or silently lost, and not stored since
	SilentlyLost int64                      `json:"silently_lost"`
	Exemplars    int64                      `json:"exemplars"`
	Answers      map[int]agenttest.Tally    `json:"answers"` // by status
}

// targetStats count scrapes.
type targetStats struct {
	Answered int `json:"answered"`
	Stored   int `json:"stored"`
	Missing  int `json:"missing"` // answered before the newest that is stored
	Pending  int `json:"pending"` // answered after it
	Repeated int `json:"repeated"`
}

func (s *sandbox) stats() stats {
	snap := s.endpoint.Snapshot()
	out := stats{Tenants: map[string]tenantStats{}, Targets: map[string]targetStats{}, MaxInFlight: snap.MaxInFlight, InOrder: true}
	if err := snap.CheckInOrder(); err != nil {
		out.InOrder, out.Disorder = false, err.Error()
	}
	for _, name := range []string{agenttest.DefaultTenant, ""} {
		t := snap.Tenant(name)
		out.Tenants[name] = tenantStats{
			Series: t.StoredSeries, Accepted: t.Accepted, Acknowledged: t.Acknowledged(), Duplicates: t.Duplicates,
			Refused: t.Refused, AlreadyThere: t.AlreadyThere, Unknown: t.Unknown, Lost: len(t.Lost()),
			SilentlyLost: t.SilentlyLost, Exemplars: t.Exemplars, Answers: t.Answers,
		}
	}
	for _, target := range s.targets.List() {
		scrapes := snap.Scrapes(target, "", time.Time{})
		missing := len(scrapes.Gaps())
		out.Targets[target.Name] = targetStats{
			Answered: scrapes.Answered, Stored: scrapes.Stored, Missing: missing,
			Pending: len(scrapes.Missing) - missing, Repeated: len(scrapes.Repeated),
		}
	}
	return out
}
