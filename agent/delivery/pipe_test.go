package delivery

import (
	"fmt"
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

// spoil puts something else in the place of a file.
func spoil(t *testing.T, file, with string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	var err error
	switch with {
	case "a pipe":
		err = syscall.Mkfifo(file, 0o600)
	case "a device":
		err = os.Symlink("/dev/zero", file)
	case "a directory":
		err = os.Mkdir(file, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// awaitError waits for an error that says what is wrong with a file.
func (r *rig) awaitError(file, says string) {
	r.t.Helper()
	begun := time.Now()
	r.eventually("it to be told", func() error {
		if s := r.status("one"); s.LastErrorAt == nil || s.LastErrorAt.Before(begun) || !strings.Contains(s.LastError, file) || !strings.Contains(s.LastError, says) {
			return errNotYet(s.LastError)
		}
		return nil
	})
}

// TestPipeWhileLive: when something that cannot be read comes in the place of a file that
// a live destination needs, nothing waits for it: the destination says what is wrong, it
// can be stopped and started, and it delivers all, once each, when the file is back.
func TestPipeWhileLive(t *testing.T) {
	t.Parallel()
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": %q, "token_type": "bearer", "expires_in": 1}`, agenttest.DefaultToken)
	}))
	t.Cleanup(tokens.Close)
	for name, tc := range map[string]struct{ authorize, content, with, says string }{
		"token":       {"    bearer_token_file: FILE", agenttest.DefaultToken, "a pipe", "it is a pipe"},
		"credentials": {"    authorization: {credentials_file: FILE}", agenttest.DefaultToken, "a device", "it is a device"},
		"header":      {"    authorization: {credentials: " + agenttest.DefaultToken + "}\n    http_headers: {X-A: {files: [FILE]}}", "a", "a directory", "is a directory"},
		"oauth2":      {"    oauth2: {client_id: i, client_secret_file: FILE, token_url: '" + tokens.URL + "'}", "secret", "a pipe", "it is a pipe"},
		"certificate": {"    authorization: {credentials: " + agenttest.DefaultToken + "}\n    tls_config: {ca_file: FILE}", "", "a pipe", "it is a pipe"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			file := filepath.Join(t.TempDir(), "file")
			if name == "certificate" {
				secured, err := agenttest.NewEndpoint(agenttest.Options{})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(secured.Close)
				r.endpoints["one"] = secured
				tc.content = string(secured.CA())
			}
			put := func() {
				t.Helper()
				if err := os.WriteFile(file, []byte(tc.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			put()
			r.authorize = strings.ReplaceAll(tc.authorize, "FILE", file)
			r.open()
			r.awaitState("one", Live)
			r.scrapes(2, 20)
			r.awaitSettled("one")

			spoil(t, file, tc.with)
			r.scrapes(2, 20)
			r.awaitError(file, tc.says)
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			put()
			r.scrapes(2, 20)
			r.awaitState("one", Live)
			r.awaitSettled("one")

			spoil(t, file, tc.with)
			r.scrapes(2, 20)
			r.awaitError(file, tc.says)
			stopped := make(chan struct{})
			go func() { r.close(); close(stopped) }()
			select {
			case <-stopped:
			case <-time.After(time.Minute):
				t.Fatal("the stop waits for somebody to write")
			}
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			put()
			r.open()
			r.awaitState("one", Live)
			r.checkDelivered("one")
		})
	}
}

// TestSilentTokenEndpoint: a live queue whose token endpoint does not answer any more
// holds nobody up, and all is delivered when it does.
func TestSilentTokenEndpoint(t *testing.T) {
	t.Parallel()
	var silent atomic.Bool
	var kept atomic.Int64
	done := make(chan struct{})
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if silent.Load() {
			kept.Add(1)
			select {
			case <-r.Context().Done():
			case <-done:
			}
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": %q, "token_type": "bearer", "expires_in": 1}`, agenttest.DefaultToken)
	}))
	t.Cleanup(tokens.Close)
	t.Cleanup(func() { close(done) })
	r := newRig(t, agenttest.Manners{})
	r.timeout = "10m"
	r.authorize = "    oauth2: {client_id: i, client_secret: s, token_url: '" + tokens.URL + "'}"
	r.open()
	r.awaitState("one", Live)
	r.scrapes(2, 20)
	r.awaitSettled("one")
	silent.Store(true)
	r.scrapes(2, 20)
	r.eventually("the token endpoint to be asked", func() error {
		if kept.Load() == 0 {
			return errNotYet("no question")
		}
		return nil
	})
	r.stopInTime()
	silent.Store(false)
	r.open()
	r.awaitState("one", Live)
	r.checkDelivered("one")
}

// TestCertificatesChangeWhileLive: other certificates need another queue of upstream's.
// It begins by itself, and nothing is lost or sent twice.
func TestCertificatesChangeWhileLive(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.MinStay = 2 * time.Second // it is looked for meanwhile
	secured, err := agenttest.NewEndpoint(agenttest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(secured.Close)
	other, err := agenttest.NewEndpoint(agenttest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	r.endpoints["one"] = secured
	file := filepath.Join(t.TempDir(), "ca.pem")
	put := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(string(secured.CA()))
	r.authorize = "    authorization: {credentials: " + agenttest.DefaultToken + "}\n    tls_config: {ca_file: " + file + "}"
	r.open()
	r.awaitState("one", Live)
	r.scrapes(2, 20)
	r.awaitSettled("one")
	put(string(other.CA()) + string(secured.CA()))
	r.scrapes(2, 20)
	r.eventually("another queue", func() error {
		if s := r.status("one"); s.State != Behind || !strings.Contains(s.Why, "certificates") {
			return errNotYet(string(s.State) + ": " + s.Why)
		}
		return nil
	})
	r.awaitState("one", Live)
	r.scrapes(2, 20)
	r.checkDelivered("one")
}
