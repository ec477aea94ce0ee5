package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func TestWebConfigFile(t *testing.T) {
	dir := t.TempDir()
	pool := writeCertificate(t, dir)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "web.yml")
	content := fmt.Sprintf("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\nbasic_auth_users:\n  op: %s\nhttp_server_config:\n  headers:\n    X-Frame-Options: sameorigin\n", hash)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, Options{ConfigFile: file, ListenAddresses: []string{"127.0.0.1:0", "127.0.0.1:0"}, Reload: func(context.Context) error { return nil }})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer client.CloseIdleConnections()
	auth := http.Header{"Authorization": {"Basic b3A6c2VjcmV0"}}
	if got := s.opts.ExternalURL.Scheme; got != "https" {
		t.Errorf("targets on this host get URLs with %s", got)
	}
	for _, addr := range s.Addrs() {
		base := "https://" + addr.String()
		for _, path := range []string{"/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/targets", "/debug/pprof/cmdline"} {
			if code, _, _ := (request{url: base + path, client: client}).do(t); code != 401 {
				t.Errorf("%s without a password: %d", path, code)
			}
		}
		if code, _, _ := (request{method: http.MethodPost, url: base + "/-/reload", client: client}).do(t); code != 401 {
			t.Errorf("reload without a password: %d", code)
		}
		if code, _, _ := (request{method: http.MethodPost, url: base + "/-/reload", client: client, header: auth}).do(t); code != 200 {
			t.Errorf("reload with the password, over TLS on loopback: %d", code)
		}
		code, _, header := (request{url: base + "/-/healthy", client: client, header: auth}).do(t)
		if code != 200 {
			t.Errorf("with the password: %d", code)
		}
		if got := header.Get("X-Frame-Options"); got != "sameorigin" {
			t.Errorf("the header of the file is replaced by %q", got)
		}
		if got := header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("X-Content-Type-Options: %q", got)
		}
	}
	passwords := filepath.Join(dir, "passwords.yml")
	if err := os.WriteFile(passwords, fmt.Appendf(nil, "basic_auth_users:\n  op: %s\n", hash), 0o600); err != nil {
		t.Fatal(err)
	}
	plain, err := New(Options{ConfigFile: passwords})
	if err != nil {
		t.Fatal(err)
	}
	if got := plain.opts.ExternalURL.Scheme; got != "http" {
		t.Errorf("%s without TLS", got)
	}
	if err := os.WriteFile(file, []byte("basic_auth_users:\n  op: plain\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{ConfigFile: file}); err == nil || !strings.HasPrefix(err.Error(), "web configuration file "+file+": ") {
		t.Errorf("a password that is not hashed: %v", err)
	}
}

// writeCertificate writes cert.pem and key.pem for 127.0.0.1.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der},
		"key.pem":  {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}
