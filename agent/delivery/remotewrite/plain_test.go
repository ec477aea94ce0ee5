package remotewrite

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/prometheus/storage/remote"
	"go.yaml.in/yaml/v2"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// readFiles are entries that name a file FILE, which is read at each request.
var readFiles = map[string]string{
	"token":       "    bearer_token_file: FILE",
	"credentials": "    authorization: {type: Own, credentials_file: FILE}",
	"username":    "    basic_auth: {username_file: FILE, password: p}",
	"password":    "    basic_auth: {username: u, password_file: FILE}",
	"headers":     "    http_headers: {X-A: {values: [v], secrets: [s], files: [FILE, FILE]}, X-B: {values: [v]}}",
}

// TestPlainSendsTheSame: what a file says goes where upstream's own client puts it, and
// the next request has what it says then.
func TestPlainSendsTheSame(t *testing.T) {
	t.Parallel()
	for name, extra := range readFiles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got http.Header
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
			t.Cleanup(server.Close)
			file := filepath.Join(t.TempDir(), "file")
			e := loadEndpoint(t, server.URL, strings.ReplaceAll(extra, "FILE", file))
			for _, content := range []string{"one\n", " two", ""} {
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				c, err := remote.NewWriteClient("x", &remote.ClientConfig{URL: e.Config.URL, Timeout: e.Config.RemoteTimeout, HTTPClientConfig: e.Config.HTTPClientConfig})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.Store(t.Context(), nil, 0); err != nil {
					t.Fatal(err)
				}
				want := got
				if err := e.Post(t.Context(), nil, 0); err != nil {
					t.Fatal(err)
				}
				for _, h := range []string{"Authorization", "X-A", "X-B"} {
					if !slices.Equal(got.Values(h), want.Values(h)) {
						t.Errorf("%q: %s is %q instead of %q", content, h, got.Values(h), want.Values(h))
					}
				}
			}
		})
	}
}

// TestPlainIsOneQueue: settings are the same as long as files are, and upstream, which
// tells queues apart by what it marshals, sees no difference when they are not.
func TestPlainIsOneQueue(t *testing.T) {
	t.Parallel()
	for name, extra := range readFiles {
		file := filepath.Join(t.TempDir(), "file")
		e := loadEndpoint(t, "http://127.0.0.1/", strings.ReplaceAll(extra, "FILE", file))
		plain := func(content string) (at any, marshalled string) {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := e.Plain(t.Context())
			if err != nil {
				t.Fatal(name, err)
			}
			b, err := yaml.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			return c, string(b)
		}
		first, was := plain("one")
		if strings.Contains(was, "one") || strings.Contains(was, file) {
			t.Errorf("%s: %s", name, was)
		}
		if same, _ := plain("one"); same != first {
			t.Errorf("%s: other settings without a change", name)
		}
		other, is := plain("two")
		if other == first || is != was {
			t.Errorf("%s: after a change\n%s\nand before\n%s", name, is, was)
		}
	}
}

// TestPlainCertificates: certificates are part of the settings, and an empty file does
// not stand for those of the system, or for none.
func TestPlainCertificates(t *testing.T) {
	t.Parallel()
	receiver, err := agenttest.NewEndpoint(agenttest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(receiver.Close)
	file := filepath.Join(t.TempDir(), "file")
	for _, name := range []string{"ca_file: %s", "cert_file: %s, key: k", "key_file: %s, cert: c"} {
		e := loadEndpoint(t, receiver.URL(), fmt.Sprintf("    tls_config: {"+name+"}", file))
		for content, want := range map[string]string{"": "file " + file + " is empty", "other": ""} {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := e.Plain(t.Context())
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s, %q: %v", name, content, err)
			}
			if err == nil && c.TLSConfig.CA+c.TLSConfig.CAFile+c.TLSConfig.Cert+c.TLSConfig.CertFile+string(c.TLSConfig.Key)+c.TLSConfig.KeyFile == "" {
				t.Errorf("%s: %+v", name, c.TLSConfig)
			}
		}
	}
	empty, err := NewEncoder(false).Encode(false, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := loadEndpoint(t, receiver.URL(), fmt.Sprintf("    bearer_token: %s\n    tls_config: {ca_file: %s}", agenttest.DefaultToken, file))
	other, err := agenttest.NewEndpoint(agenttest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	for _, tc := range []struct {
		content []byte
		want    string
	}{{other.CA(), "failed to verify"}, {receiver.CA(), ""}, {[]byte("-----BEGIN"), "unable to use specified CA cert"}, {receiver.CA(), ""}} {
		if err := os.WriteFile(file, tc.content, 0o600); err != nil {
			t.Fatal(err)
		}
		err := e.Post(t.Context(), empty, 0)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v instead of %q", err, tc.want)
		}
	}
}

// TestPlainWithoutAFile: what cannot be read is told, and no request is taken for one.
func TestPlainWithoutAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, extra := range readFiles {
		for path, want := range map[string]string{pipe: "it is a pipe", filepath.Join(dir, "none"): "no such file", "/dev/zero": "it is a device", dir: "is a directory"} {
			e := loadEndpoint(t, "http://127.0.0.1:1/", strings.ReplaceAll(extra, "FILE", path))
			_, err := e.Plain(t.Context())
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) || !NotSent(err.Error()) || MayHaveStored(0, err.Error()) {
				t.Errorf("%s by %s: %v", name, path, err)
			}
			var r *Refusal
			if err := e.Post(t.Context(), nil, 0); !errors.As(err, &r) || r.Class() != Unanswered {
				t.Errorf("%s by %s: %v", name, path, err)
			}
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	e := loadEndpoint(t, "http://127.0.0.1:1/", "")
	if _, err := e.Plain(ended); err != nil {
		t.Errorf("nothing has to be read: %v", err)
	}
}
