package agenttest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxBody is nginx' client_max_body_size, in compressed bytes.
const maxBody = 1 << 20

// statusGone is nginx' status for a client that did not wait for the answer.
const statusGone = 499

// push handles one remote write request.
func (e *Endpoint) push(w http.ResponseWriter, r *http.Request) {
	conn := connectionOf(r)
	if !e.enter(conn) {
		panic(http.ErrAbortHandler)
	}
	defer e.leave()
	if conn.requests.Add(1) >= requestsPerConnection {
		w.Header().Set("Connection", "close")
	}
	in := e.receive(r)
	a, asked := e.choose(in)
	if !e.pause(r, a.Delay) {
		e.record(in, statusGone, asked)
		panic(http.ErrAbortHandler) // a mere return would answer 200
	}
	response := a
	if a.usual() || a.Store {
		usual := e.take(in)
		if a.usual() {
			response = usual
		}
	}
	if !e.pause(r, a.Linger) {
		e.record(in, statusGone, asked)
		panic(http.ErrAbortHandler)
	}
	// On record before the client can know, so that a test which has its
	// answer finds the request.
	if a.Reset {
		e.record(in, 0, asked)
		reset(w)
		return
	}
	e.record(in, response.Status, asked)
	response.write(w)
}

func (e *Endpoint) enter(conn *connection) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || conn.since.Before(e.reconnectSince) {
		return false
	}
	e.handlers.Add(1)
	e.inFlight++
	e.maxInFlight = max(e.maxInFlight, e.inFlight)
	return true
}

func (e *Endpoint) leave() {
	e.mu.Lock()
	e.inFlight--
	e.mu.Unlock()
	e.handlers.Done()
}

// receive reads a request and collects the first reason, on its way through
// nginx and the API proxy to Cortex, not to take it.
func (e *Endpoint) receive(r *http.Request) *Incoming {
	in := &Incoming{At: time.Now(), Header: r.Header}
	var unauthorized string
	in.Tenant, unauthorized = e.authenticate(r.Header.Get("Authorization"))
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	in.Bytes = len(body)
	if len(body) > maxBody {
		// Closing with unread data would reset the connection, and the client
		// could miss the answer.
		n, _ := io.Copy(io.Discard, r.Body)
		in.Bytes += int(n)
		tooLarge := NginxError(http.StatusRequestEntityTooLarge)
		in.refusal = &tooLarge
		return in
	}
	e.mu.Lock()
	manner := e.manners.RemoteWrite2
	e.mu.Unlock()
	in.Version, in.Write, in.refusal = decode(r.Header, body, manner)
	switch {
	case err != nil:
		in.refusal = &Answer{Status: http.StatusBadRequest, Body: err.Error() + "\n"}
	case unauthorized != "":
		in.refusal = &Answer{Status: http.StatusUnauthorized, Body: unauthorized}
	}
	return in
}

// authenticate returns the tenant, or what Opstrace's API proxy says to a
// stranger.
func (e *Endpoint) authenticate(header string) (tenant, refusal string) {
	token := ""
	if header != "" {
		parts := strings.Split(header, "Bearer ")
		if len(parts) != 2 {
			return "", "Authorization header format invalid. Expecting `Authorization: Bearer <AUTHTOKEN>`"
		}
		token = parts[1]
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	tenant, ok := e.tokens[token]
	switch {
	case ok:
		return tenant, ""
	case header == "":
		return "", "Authorization header missing"
	default:
		return "", "bad authentication token"
	}
}

// pause waits, and reports whether the client is still there.
func (e *Endpoint) pause(r *http.Request, d time.Duration) bool {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		case <-e.closing:
			return false
		}
	}
	return r.Context().Err() == nil
}

// take treats a request by the endpoint's manners.
func (e *Endpoint) take(in *Incoming) Answer {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ingress != nil && !e.ingress.AllowN(in.At, 1) {
		return NginxError(http.StatusTooManyRequests)
	}
	if in.refusal != nil {
		return *in.refusal
	}
	answer := e.tenant(in.Tenant).write(in, e.manners, e.limiter)
	e.announce()
	return answer
}

// tenant is called with the lock held.
func (e *Endpoint) tenant(name string) *tenant {
	t, ok := e.tenants[name]
	if !ok {
		t = newTenant(name, e.keep)
		e.tenants[name] = t
	}
	return t
}

func (e *Endpoint) record(in *Incoming, status int, asked bool) {
	samples := in.Samples()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests = append(e.requests, Request{
		At: in.At, Done: time.Now(), Tenant: in.Tenant, Version: in.Version,
		Bytes: in.Bytes, Samples: samples, Status: status, Asked: asked,
	})
	counters := &e.tenant(in.Tenant).counters
	tally := counters.Answers[status]
	tally.Requests++
	tally.Samples += int64(samples)
	counters.Answers[status] = tally
	e.announce()
}

// announce wakes those who wait. It is called with the lock held.
func (e *Endpoint) announce() {
	close(e.changed)
	e.changed = make(chan struct{})
}

func (a *Answer) write(w http.ResponseWriter) {
	header := w.Header()
	if a.Body != "" {
		header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	for name, values := range a.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	if a.written != nil {
		a.written.SetHeaders(w)
	}
	w.WriteHeader(a.Status)
	_, _ = io.WriteString(w, a.Body) // a client that is gone is on record
}

// reset drops the connection with a RST.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	resetConn(conn)
}

func answerNginx(w http.ResponseWriter, status int) {
	a := NginxError(status)
	a.write(w)
}

func nginxPage(status int) string {
	title := fmt.Sprintf("%d %s", status, http.StatusText(status))
	return "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title +
		"</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
}
