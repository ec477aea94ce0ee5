package remotewrite

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/storage/remote"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for v, want := range map[string]time.Duration{
		"": 0, "0": 0, "-5": 0, "soon": 0, "7": 7 * time.Second,
		"86400": longestRetryAfter, "9223372036854775807": longestRetryAfter,
		in(-time.Hour): 0, in(time.Hour): longestRetryAfter,
	} {
		if got := retryAfter(v); got != want {
			t.Errorf("Retry-After %q: %s, expected %s", v, got, want)
		}
	}
	if got := retryAfter(in(time.Minute)); got < 58*time.Second || got > time.Minute {
		t.Errorf("a date in a minute: %s", got)
	}
}

// TestPost: every status but 2xx comes back as a refusal with all that the
// endpoint said.
func TestPost(t *testing.T) {
	t.Parallel()
	code := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v := r.Header.Get("Retry-Attempt"); v != "3" {
			t.Errorf("Retry-Attempt is %q", v)
		}
		w.Header().Set("Location", "http://127.0.0.1:1/login")
		w.Header().Set("Retry-After", "9")
		http.Error(w, "words"+strings.Repeat(" ", maxAnswer)+"more", code)
	}))
	defer server.Close()
	e := loadEndpoint(t, server.URL, "")
	for _, code = range []int{200, 204, 302, 308, 400, 401, 404, 409, 413, 415, 422, 429, 500, 503, 511} {
		err := e.Post(t.Context(), []byte("x"), 3)
		var r *Refusal
		switch {
		case code < 300:
			if err != nil {
				t.Errorf("%d: %v", code, err)
			}
		case !errors.As(err, &r):
			t.Errorf("%d: %v is no refusal", code, err)
		case r.Status != code || r.Body != "words" || r.RetryAfter != 9*time.Second || r.Location != "http://127.0.0.1:1/login" || r.Class() != ClassOf(code):
			t.Errorf("%d: %+v", code, r)
		}
	}
	server.Close()
	var r *Refusal
	e = loadEndpoint(t, server.URL, "") // with no connection left over
	if err := e.Post(t.Context(), nil, 3); !errors.As(err, &r) || r.Class() != Unanswered || MayHaveStored(r.Status, r.Error()) {
		t.Errorf("a refused connection: %v", err)
	}
}

// TestPostIsNotSwitched: an answer that is the connection itself is held, and not read.
func TestPostIsNotSwitched(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if err := agenttest.SwitchProtocols(w, agenttest.UntilEnded); err != nil {
				t.Error(err)
			}
		}))
		if encrypted {
			server.StartTLS()
		} else {
			server.Start()
		}
		t.Cleanup(server.Close)
		e := loadEndpoint(t, server.URL, "    tls_config: {insecure_skip_verify: true}")
		answered := make(chan error, 1)
		go func() { answered <- e.Post(t.Context(), []byte("x"), 0) }()
		select {
		case err := <-answered:
			var r *Refusal
			if !errors.As(err, &r) || r.Class() != Held || MayHaveStored(r.Status, r.Error()) || !strings.Contains(r.Error(), "answers in its place") || !strings.Contains(r.Error(), "101") {
				t.Errorf("encrypted %v: %v", encrypted, err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("encrypted %v: the answer is read for ever", encrypted)
		}
	}
}

// TestPostDoesNotWaitForAPipe: a request whose token becomes a pipe fails at once, and is
// made again when the token is back.
func TestPostDoesNotWaitForAPipe(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	token := filepath.Join(t.TempDir(), "token")
	put := func() {
		t.Helper()
		if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put()
	e := loadEndpoint(t, server.URL, "    bearer_token_file: "+token)
	if err := e.Post(t.Context(), nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(token); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(token, 0o600); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- e.Post(t.Context(), nil, 0) }()
	select {
	case err := <-answered:
		var r *Refusal
		if !errors.As(err, &r) || r.Class() != Unanswered || !strings.Contains(r.Error(), token+": it is a pipe") {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for somebody to write")
	}
	if err := os.Remove(token); err != nil {
		t.Fatal(err)
	}
	put()
	if err := e.Post(t.Context(), nil, 0); err != nil {
		t.Error(err)
	}
}

func TestPostIsBounded(t *testing.T) {
	t.Parallel()
	block := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-block }))
	defer server.Close()
	defer close(block)
	e := loadEndpoint(t, server.URL, "    remote_timeout: 50ms")
	err := e.Post(t.Context(), []byte("x"), 0)
	var r *Refusal
	if !errors.As(err, &r) || r.Status != 0 || !errors.Is(err, context.DeadlineExceeded) || !MayHaveStored(r.Status, r.Error()) {
		t.Errorf("no answer within remote_timeout: %v", err)
	}
}

// TestRemoteWrite2Acknowledgement: an endpoint that does not know 2.0 may
// answer 200 and store nothing.
func TestRemoteWrite2Acknowledgement(t *testing.T) {
	t.Parallel()
	written := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if written != "" {
			w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", written)
		}
	}))
	defer server.Close()
	e := loadEndpoint(t, server.URL, protobuf2)
	err := e.Post(t.Context(), nil, 0)
	var r *Refusal
	if !errors.Is(err, ErrNothingWritten) || !errors.As(err, &r) || r.Class() != Held {
		t.Errorf("nothing said to be written: %v", err)
	}
	written = "1"
	if err := e.Post(t.Context(), nil, 0); err != nil {
		t.Errorf("written: %v", err)
	}
}

// TestHeaders: an endpoint cannot tell our requests from those of upstream's
// client.
func TestHeaders(t *testing.T) {
	t.Parallel()
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		got.Del("Traceparent")
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", "1")
	}))
	defer server.Close()
	for name, extra := range map[string]string{"1.0": "", "2.0": protobuf2} {
		rw := loadEntry(t, server.URL, extra+"    headers: {X-Scope-OrgID: t}\n    basic_auth: {username: u, password: p}")
		e := loadEndpoint(t, server.URL, extra+"    headers: {X-Scope-OrgID: t}\n    basic_auth: {username: u, password: p}")
		for attempt := range 2 {
			c, err := remote.NewWriteClient("x", &remote.ClientConfig{URL: rw.URL, Timeout: rw.RemoteTimeout, WriteProtoMsg: rw.ProtobufMessage, HTTPClientConfig: rw.HTTPClientConfig, Headers: rw.Headers})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Store(t.Context(), []byte("x"), attempt); err != nil {
				t.Fatal(err)
			}
			want := got
			if err := e.Post(t.Context(), []byte("x"), attempt); err != nil {
				t.Fatal(err)
			}
			if len(got) != len(want) || got.Get("X-Scope-OrgID") != "t" {
				t.Errorf("%s: %v instead of %v", name, got, want)
			}
			for h := range want {
				if got.Get(h) != want.Get(h) {
					t.Errorf("%s: %s is %q instead of %q", name, h, got.Get(h), want.Get(h))
				}
			}
		}
	}
}

// TestOpstraceTakesGroupedRequests: nothing is refused, and nothing silently lost
// for going back in time within a request.
func TestOpstraceTakesGroupedRequests(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]string{"1.0": "", "2.0": protobuf2} {
		receiver, err := agenttest.NewEndpoint(agenttest.Options{PlainHTTP: true, Manners: agenttest.Manners{RemoteWrite2: agenttest.AcceptRemoteWrite2}})
		if err != nil {
			t.Fatal(err)
		}
		defer receiver.Close()
		e := loadEndpoint(t, receiver.URL(), version+"    authorization: {credentials: "+agenttest.DefaultToken+"}")
		items := history(newRand(), e.V2, false, 60)
		enc := NewEncoder(false)
		for batch := range slices.Chunk(items, 200) {
			body, err := enc.Encode(e.V2, Group(slices.Clone(batch)))
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Post(t.Context(), body, 0); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		got := receiver.Snapshot()
		if got.Accepted != int64(Samples(items)) || got.Exemplars == 0 || got.SilentlyLost > 0 {
			t.Errorf("%s: of %d samples it holds %d, silently lost %d; exemplars %d", name, Samples(items), got.Accepted, got.SilentlyLost, got.Exemplars)
		}
		if err := got.CheckInOrder(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusalError(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]*Refusal{
		"server returned HTTP status 400 Bad Request: no":                  {Status: 400, Body: "no"},
		"server returned HTTP status 308 Permanent Redirect to https://x/": {Status: 308, Location: "https://x/"},
		"EOF": {Err: io.EOF},
	} {
		if r.Error() != want {
			t.Errorf("%q instead of %q", r.Error(), want)
		}
	}
	if !errors.Is(&Refusal{Err: io.EOF}, io.EOF) {
		t.Error("the reason is not unwrapped")
	}
}

func TestRequestCannotBeBuilt(t *testing.T) {
	t.Parallel()
	e := loadEndpoint(t, "http://127.0.0.1/", "")
	e.Config.URL.Host = "a b"
	err := e.Post(t.Context(), nil, 0)
	var r *Refusal
	if err == nil || errors.As(err, &r) {
		t.Errorf("no request can be made of %s: %v", e.Config.URL, err)
	}
}
