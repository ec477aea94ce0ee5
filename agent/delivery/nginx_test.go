//go:build !race

// nginx answers before it has read a request. Upstream's queue then encodes its
// next batch into a buffer that net/http may still be reading (storage/remote:
// sendSamplesWithBackoff), which the race detector finds: of a request that has its
// answer, it does no harm.

package delivery

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// nginx is a real nginx in front of an endpoint.
type nginx struct {
	t      *testing.T
	dir    string
	port   int
	behind string // the endpoint's address
	cmd    *exec.Cmd
}

// startNginx starts one with the given lines in its server section, %s in them
// standing for what comes after its address in listen.
func startNginx(t *testing.T, behind, listen, server string) *nginx {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			t.Skip("nginx is not installed (Debian: nginx-light)")
		}
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	n := &nginx{t: t, dir: t.TempDir(), port: l.Addr().(*net.TCPAddr).Port, behind: behind}
	n.certificate()
	n.configure(listen, server)
	n.cmd = exec.Command(path, "-p", n.dir, "-c", "nginx.conf", "-e", "error.log")
	// By this variable it takes over sockets that are open already, as at an upgrade.
	n.cmd.ExtraFiles, n.cmd.Env = []*os.File{socket}, []string{"NGINX=3;"}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = n.cmd.Process.Signal(syscall.SIGTERM)
		_ = n.cmd.Wait()
	})
	return n
}

func (n *nginx) certificate() {
	n.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		n.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		n.t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(n.dir, name), pem.EncodeToMemory(block), 0o640); err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *nginx) configure(listen, server string) {
	n.t.Helper()
	conf := fmt.Sprintf(`daemon off; worker_processes 1; pid nginx.pid; error_log error.log;
events {}
http {
  access_log off;
  client_body_buffer_size 1m; # workers may be of a user that can write no file there
  client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
  server {
    listen 127.0.0.1:%d%s;
    ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_client_certificate cert.pem;
    %s
    location / { proxy_pass http://%s; }
  }
}
`, n.port, listen, server, n.behind)
	if err := os.WriteFile(filepath.Join(n.dir, "nginx.conf"), []byte(conf), 0o640); err != nil {
		n.t.Fatal(err)
	}
}

// reload gives it another configuration.
func (n *nginx) reload(listen, server string) {
	n.t.Helper()
	n.configure(listen, server)
	if err := n.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		n.t.Fatal(err)
	}
}

// TestNginxPages: nginx' two pages with status 400, one for plain HTTP on a port
// that takes TLS, one for a client without a certificate, give up no sample, live
// or behind. They come from a real nginx, whose settings are wrong for a while.
func TestNginxPages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, scheme             string
		right, wrong             string // after the address in listen
		rightServer, wrongServer string
		words                    string
	}{
		{"plain", "http", "", " ssl", "", "", "400 The plain HTTP request was sent to HTTPS port"},
		{"certificate", "https", " ssl", " ssl", "ssl_verify_client off;", "ssl_verify_client on;", "400 No required SSL certificate was sent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			behind := strings.TrimSuffix(strings.TrimPrefix(r.one().URL(), "http://"), agenttest.PushPath)
			n := startNginx(t, behind, c.right, c.rightServer)
			r.urls = map[string]string{"one": fmt.Sprintf("%s://127.0.0.1:%d%s", c.scheme, n.port, agenttest.PushPath)}
			r.extra["one"] = "    tls_config: {insecure_skip_verify: true}\n"
			r.open()
			r.awaitState("one", Live)
			r.scrapes(3, 20)
			r.checkDelivered("one")

			n.reload(c.wrong, c.wrongServer)
			r.eventually("nginx' page", func() error {
				r.scrapes(1, 20)
				s := r.status("one")
				if s.State != Behind || !strings.Contains(s.LastError, c.words) {
					return fmt.Errorf("%s, last error %q", s.State, s.LastError)
				}
				return nil
			})
			r.scrapes(10, 20)
			asked := r.status("one").LastErrorAt
			r.eventually("another refusal", func() error {
				if s := r.status("one"); !s.LastErrorAt.After(*asked) {
					return fmt.Errorf("none after %s", asked)
				}
				return nil
			})
			if l := r.status("one").Ledger; ledger.Total(l.Refused)+ledger.Total(l.Uncertain) > 0 {
				t.Errorf("given up for a page: %+v", l)
			}
			n.reload(c.right, c.rightServer)
			r.checkDelivered("one")
		})
	}
}
