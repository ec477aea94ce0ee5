package remotewrite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// tokenEndpoint gives the tokens "token 1", "token 2", …, which are to be replaced at
// once, as long as other is nil.
type tokenEndpoint struct {
	*httptest.Server

	other atomic.Pointer[http.HandlerFunc]
	given atomic.Int64
	open  atomic.Int64 // connections
}

func newTokenEndpoint(t *testing.T, encrypted bool) *tokenEndpoint {
	e := new(tokenEndpoint)
	e.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if other := e.other.Load(); other != nil {
			(*other)(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, secret, _ := r.BasicAuth()
		fmt.Fprintf(w, `{"access_token": "token-%d-%s", "token_type": "bearer", "expires_in": 1}`, e.given.Add(1), secret)
	}))
	e.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			e.open.Add(1)
		case http.StateClosed, http.StateHijacked:
			e.open.Add(-1)
		}
	}
	if encrypted {
		e.StartTLS()
	} else {
		e.Start()
	}
	t.Cleanup(e.CloseClientConnections)
	return e
}

// TestTokenEndpoint: a token is asked for when the last has expired; one that cannot be
// had, whatever the endpoint does, is an error in time, and leaves no connection behind.
func TestTokenEndpoint(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		done := make(chan struct{})
		t.Cleanup(func() { close(done) })
		var held atomic.Int64 // connections that were taken over
		switches := func(w http.ResponseWriter) {
			err := agenttest.SwitchProtocols(w, func(conn net.Conn) {
				held.Add(1)
				defer held.Add(-1)
				agenttest.UntilEnded(conn)
			})
			if err != nil {
				t.Error(err)
			}
		}
		for name, answer := range map[string]http.HandlerFunc{
			"refuses":            func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
			"switches protocols": func(w http.ResponseWriter, _ *http.Request) { switches(w) },
			"switches protocols, with hints before": func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusEarlyHints)
				switches(w)
			},
			"does not answer": func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				select {
				case <-r.Context().Done():
				case <-done:
				}
			},
		} {
			t.Run(fmt.Sprintf("%s, encrypted %v", name, encrypted), func(t *testing.T) {
				t.Parallel()
				var sent atomic.Pointer[string]
				server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { sent.Store(new(r.Header.Get("Authorization"))) }))
				t.Cleanup(server.Close)
				tokens := newTokenEndpoint(t, encrypted)
				secret := filepath.Join(t.TempDir(), "secret")
				if err := os.WriteFile(secret, []byte("s\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				e := loadEndpoint(t, server.URL, fmt.Sprintf("    remote_timeout: 1s\n    oauth2: {client_id: i, client_secret_file: '%s', token_url: '%s', tls_config: {insecure_skip_verify: true}}", secret, tokens.URL))
				for i := range 2 {
					if err := e.Post(t.Context(), nil, 0); err != nil {
						t.Fatal(err)
					}
					if got, want := *sent.Load(), fmt.Sprintf("Bearer token-%d-s", i+1); got != want {
						t.Errorf("%q instead of %q", got, want)
					}
				}
				tokens.other.Store(&answer)
				refused := make(chan error, 1)
				go func() { refused <- e.Post(context.WithoutCancel(t.Context()), nil, 0) }()
				select {
				case err := <-refused:
					var r *Refusal
					if !errors.As(err, &r) || r.Class() != Unanswered || !strings.HasPrefix(err.Error(), "unable to use the token endpoint: ") || MayHaveStored(0, err.Error()) {
						t.Error(err)
					}
				case <-time.After(time.Minute):
					t.Fatal("it waits")
				}
				tokens.other.Store(nil)
				await(t, "another token", func() bool { return e.Post(t.Context(), nil, 0) == nil })
				await(t, "the connections to end", func() bool { return held.Load() == 0 && tokens.open.Load() <= 1 })
			})
		}
	}
}

// TestSecretOfATokenEndpoint: a pipe in the place of the secret is told, and another
// secret is used at once.
func TestSecretOfATokenEndpoint(t *testing.T) {
	t.Parallel()
	tokens := newTokenEndpoint(t, false)
	secret := filepath.Join(t.TempDir(), "secret")
	e := loadEndpoint(t, "http://127.0.0.1:1/", fmt.Sprintf("    oauth2: {client_id: i, client_secret_file: %s, token_url: '%s'}", secret, tokens.URL))
	if err := syscall.Mkfifo(secret, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Plain(t.Context()); err == nil || !strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "it is a pipe") {
		t.Error(err)
	}
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	for i, content := range []string{"one", "two"} {
		if err := os.WriteFile(secret, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := e.Plain(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(c.Authorization.Credentials), fmt.Sprintf("token-%d-%s", i+1, content); got != want || c.OAuth2 != nil {
			t.Errorf("%q instead of %q", got, want)
		}
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s", what)
		}
	}
}
