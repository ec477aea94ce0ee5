package regular

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	config_util "github.com/prometheus/common/config"
	"go.yaml.in/yaml/v2"
)

// TestCheckClient: each field that names a file is looked at.
func TestCheckClient(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "file")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"bearer_token_file: FILE",
		"authorization: {credentials_file: FILE}",
		"basic_auth: {username_file: FILE}",
		"basic_auth: {password_file: FILE}",
		"oauth2: {client_id: x, token_url: 'http://x/', client_secret_file: FILE}",
		"oauth2: {client_id: x, token_url: 'http://x/', client_certificate_key_file: FILE}",
		"oauth2: {client_id: x, token_url: 'http://x/', tls_config: {ca_file: FILE}}",
		"oauth2: {client_id: x, token_url: 'http://x/', tls_config: {cert_file: FILE, key_file: /none}}",
		"oauth2: {client_id: x, token_url: 'http://x/', tls_config: {cert_file: /none, key_file: FILE}}",
		"tls_config: {ca_file: FILE}",
		"tls_config: {cert_file: FILE, key_file: /none}",
		"tls_config: {cert_file: /none, key_file: FILE}",
		"http_headers: {X-A: {files: [FILE]}}",
	} {
		check := func(path string) error {
			var c config_util.HTTPClientConfig
			type plain config_util.HTTPClientConfig // without what refuses the half of a pair
			if err := yaml.UnmarshalStrict([]byte(strings.ReplaceAll(text, "FILE", path)), (*plain)(&c)); err != nil {
				t.Fatal(text, err)
			}
			return in(t, func() error { return CheckClient(c) })
		}
		if err := check(pipe); err == nil || !strings.Contains(err.Error(), pipe) || !strings.Contains(err.Error(), "a pipe") {
			t.Errorf("%s: %v", text, err)
		}
		for _, path := range []string{file, filepath.Join(dir, "none")} {
			if err := check(path); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}
