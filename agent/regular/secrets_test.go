package regular

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	config_util "github.com/prometheus/common/config"
	"go.yaml.in/yaml/v2"
)

// TestFetch: what is read is what upstream reads, and what is no such file, or has no
// end, is an error.
func TestFetch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("file"), []byte(" content\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	large, err := os.Create(at("large"))
	if err != nil {
		t.Fatal(err)
	}
	defer large.Close()
	if err := large.Truncate(1 << 40); err != nil {
		t.Skip("no sparse files: ", err)
	}
	var s Secrets
	fetch := func(path string) (content string, err error) {
		err = in(t, func() (err error) {
			content, err = s.Fetch(t.Context(), path)
			return err
		})
		return content, err
	}
	if got, err := fetch(at("file")); err != nil || got != "content" {
		t.Errorf("%q, %v", got, err)
	}
	for path, want := range map[string]string{
		at("pipe"): "it is a pipe", at("socket"): "it is a socket", "/dev/zero": "it is a device", at("large"): "it has more than 8388608 bytes",
		dir: "is a directory", at("none"): "no such file or directory",
	} {
		got, err := fetch(path)
		if err == nil || got != "" || !strings.HasPrefix(err.Error(), "unable to read file "+path+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}

// TestFetchOfAHungFileSystem: who asks waits until its context ends, and however many
// ask, one reads.
func TestFetchOfAHungFileSystem(t *testing.T) {
	t.Parallel()
	answers := make(chan struct{})
	var reads atomic.Int64
	s := Secrets{read: func(path string) (string, error) {
		if reads.Add(1); path == "hangs" {
			<-answers
		}
		return "content of " + path, nil
	}}
	over := errors.New("over")
	for range 3 {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(over)
		if err := in(t, func() error { _, err := s.Fetch(ctx, "hangs"); return err }); !errors.Is(err, over) || !strings.Contains(err.Error(), "file hangs") {
			t.Error(err)
		}
	}
	if got, err := s.Fetch(t.Context(), "another"); err != nil || got != "content of another" {
		t.Errorf("%q, %v", got, err)
	}
	close(answers)
	if err := in(t, func() error { _, err := s.Fetch(t.Context(), "hangs"); return err }); err != nil {
		t.Error(err)
	}
	// The last may have come when the first was over.
	if n := reads.Load(); n > 3 {
		t.Errorf("%d reads", n)
	}
}

// TestRefs: no field that names a file is left, but those of http_headers, and the
// client that is built sends what is in the files.
func TestRefs(t *testing.T) {
	t.Parallel()
	var seen http.Header
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Header }))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "file")
	for text, want := range map[string]string{
		"bearer_token_file: FILE":                                                                                      "Bearer two",
		"authorization: {type: A, credentials_file: FILE}":                                                             "A two",
		"basic_auth: {username_file: FILE, password: one}":                                                             "Basic dHdvOm9uZQ==",
		"basic_auth: {username: one, password_file: FILE}":                                                             "Basic b25lOnR3bw==",
		"oauth2: {client_id: x, token_url: 'http://x/', client_secret_file: FILE}":                                     "",
		"oauth2: {client_id: x, token_url: 'http://x/', grant_type: x, client_certificate_key_file: FILE}":             "",
		"oauth2: {client_id: x, token_url: 'http://x/', tls_config: {ca_file: FILE, cert_file: FILE, key_file: FILE}}": "",
		"tls_config: {ca_file: FILE, cert_file: FILE, key_file: FILE}":                                                 "",
	} {
		var c config_util.HTTPClientConfig
		type plain config_util.HTTPClientConfig // without what moves a token
		if err := yaml.UnmarshalStrict([]byte(strings.ReplaceAll(text, "FILE", file)), (*plain)(&c)); err != nil {
			t.Fatal(text, err)
		}
		named := len(clientFiles(c))
		referring := Refs(c)
		if len(clientFiles(c)) != named || named == 0 {
			t.Errorf("%s: the original was changed", text)
		}
		if left := clientFiles(referring); len(left) > 0 {
			t.Errorf("%s: %v are left", text, left)
		}
		if want == "" {
			continue
		}
		client, err := config_util.NewClientFromConfig(referring, "test", config_util.WithSecretManager(new(Secrets)))
		if err != nil {
			t.Fatal(text, err)
		}
		for _, content := range []string{"before", "two"} {
			if err := os.WriteFile(file, []byte(content+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			resp, err := client.Get(server.URL)
			if err != nil {
				t.Fatal(text, err)
			}
			resp.Body.Close()
		}
		client.CloseIdleConnections()
		if got := seen.Get("Authorization"); got != want {
			t.Errorf("%s: %q instead of %q", text, got, want)
		}
	}
	c := config_util.HTTPClientConfig{HTTPHeaders: &config_util.Headers{Headers: map[string]config_util.Header{"X-A": {Files: []string{file}}}}}
	if left := clientFiles(Refs(c)); len(left) != 1 {
		t.Errorf("of http_headers, %v are left", left)
	}
}

// TestSecret: it is read at each request, and named in errors.
func TestSecret(t *testing.T) {
	t.Parallel()
	var r config_util.SecretReader = Secret{new(Secrets), filepath.Join(t.TempDir(), "none")}
	if _, err := r.Fetch(t.Context()); !errors.Is(err, os.ErrNotExist) || r.Immutable() || !strings.HasSuffix(r.Description(), "/none") {
		t.Errorf("%v, %s", err, r.Description())
	}
}
