package pushcheck

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// nameServer is this process' resolver while a test runs.
type nameServer struct {
	mu    sync.Mutex
	known map[string]bool
	rcode int // for the unknown
	stop  func()
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	n := &nameServer{known: map[string]bool{}, rcode: dns.RcodeNameError}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: conn, Handler: n, NotifyStartedFunc: func() { close(started) }}
	go func() { _ = server.ActivateAndServe() }()
	<-started
	before := net.DefaultResolver
	var dialer net.Dialer
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	n.stop = sync.OnceFunc(func() {
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		net.DefaultResolver = before
		n.stop()
	})
	return n
}

func (n *nameServer) add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known[dns.Fqdn(name)] = true
}

func (n *nameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(q)
	switch name := q.Question[0].Name; {
	case !n.known[name]:
		m.Rcode = n.rcode
	case q.Question[0].Qtype == dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 30},
			A:   net.IPv4(127, 0, 0, 1),
		})
	}
	_ = w.WriteMsg(m)
}

func port(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

func TestDNS(t *testing.T) {
	names := newNameServer(t)
	steps, good := run(t, destination(t, "http://cortex.new.testcluster.opstrace.io/api/v1/push"))
	expect(t, steps, good, noToken,
		`FAIL dns: dial tcp: lookup cortex.new.testcluster.opstrace.io on NAMESERVER: no such host | the name of a new tenant takes some minutes to appear; if tenant "new" is not new, check the spelling of cluster and tenant`)
	steps, good = run(t, destination(t, "http://push.example.org/"))
	expect(t, steps, good, noToken,
		"FAIL dns: dial tcp: lookup push.example.org on NAMESERVER: no such host | check the spelling of the name in url")
	steps, good = run(t, destination(t, "http://push.example.org/", "proxy_url: http://proxy.example.org:3128"))
	expect(t, steps, good, noToken, "ok proxy: through http://proxy.example.org:3128",
		"FAIL dns: proxyconnect tcp: dial tcp: lookup proxy.example.org on NAMESERVER: no such host | check the name in proxy_url")

	names.mu.Lock()
	names.rcode = dns.RcodeServerFailure
	names.mu.Unlock()
	steps, good = run(t, destination(t, "http://push.example.org/"))
	expect(t, steps, good, noToken,
		"FAIL dns: dial tcp: lookup push.example.org on NAMESERVER: server misbehaving | the name server of this host does not answer: see /etc/resolv.conf")

	names.stop() // nothing listens there any more
	refused := " on NAMESERVER: read udp 127.0.0.1:PORT->127.0.0.1:PORT: read: connection refused | the name server of this host does not answer: see /etc/resolv.conf"
	steps, good = run(t, destination(t, "http://push.example.org/"))
	expect(t, steps, good, noToken, "FAIL dns: dial tcp: lookup push.example.org"+refused)
	steps, good = run(t, destination(t, "http://push.example.org/", "proxy_url: http://proxy.example.org:3128"))
	expect(t, steps, good, noToken, "ok proxy: through http://proxy.example.org:3128", "FAIL dns: proxyconnect tcp: dial tcp: lookup proxy.example.org"+refused)
}

func TestTCP(t *testing.T) {
	e := open(t, agenttest.Manners{})
	if err := e.Down(); err != nil {
		t.Fatal(err)
	}
	steps, good := run(t, destination(t, e.URL()))
	expect(t, steps, good, noToken,
		"FAIL tcp: dial tcp 127.0.0.1:PORT: connect: connection refused | nothing listens there: check host and port of the url")
	steps, good = run(t, destination(t, "http://push.example.org/", "proxy_url: "+e.URL()))
	expect(t, steps, good, noToken, "ok proxy: through http://127.0.0.1:PORT/api/v1/push",
		"FAIL proxy: proxyconnect tcp: dial tcp 127.0.0.1:PORT: connect: connection refused | the proxy 127.0.0.1:PORT cannot be reached: check proxy_url")
}

// TestTCPTimeout dials a listener whose queue is full: the kernel drops what
// comes in addition, as a firewall does.
func TestTCPTimeout(t *testing.T) {
	address := fullListener(t)
	rw := destination(t, "http://"+address+"/")
	rw.RemoteTimeout = modelDuration(200 * time.Millisecond)
	steps, good := run(t, rw)
	expect(t, steps, good, noToken,
		"FAIL tcp: no answer within 200ms | a firewall swallows the packets, or this network needs a proxy: set proxy_url")
}

func TestTLS(t *testing.T) {
	e, settings := secured(t)
	e.SetTLS(agenttest.TLSUntrusted)
	steps, good := run(t, destination(t, e.URL(), settings...))
	expect(t, steps, good, goodToken, connected,
		`FAIL tls: tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of "x509: ECDSA verification failure" while trying to verify candidate authority certificate "opstrace on loopback") | the certificate is of a private authority, or of a proxy that reads along: set tls_config.ca_file to the authority's certificate`)

	e.SetTLS(agenttest.TLSRefused)
	steps, good = run(t, destination(t, e.URL(), settings...))
	expect(t, steps, good, goodToken, connected,
		"FAIL tls: remote error: tls: internal error | the server ended the handshake; if it asks for a certificate of the client, set tls_config.cert_file and key_file")

	e.SetTLS(agenttest.TLSTrusted)
	steps, good = run(t, destination(t, e.URL(), settings[0], "tls_config: {ca_file: "+caFile(t, e.CA())+", server_name: cortex.default.example.org}"))
	expect(t, steps, good, goodToken, connected,
		"FAIL tls: tls: failed to verify certificate: x509: certificate is valid for localhost, *.agenttest.invalid, not cortex.default.example.org | another server answers under this name: check the url, and whether a login page of this network is in between")

	plain := open(t, agenttest.Manners{})
	steps, good = run(t, destination(t, "https://127.0.0.1:"+port(t, plain.URL())+"/"))
	expect(t, steps, good, noToken, connected,
		"FAIL tls: http: server gave HTTP response to HTTPS client | this port speaks http without TLS: check the port of the url, or write http://")
}

func TestTLSEndsAtOnce(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(conn, make([]byte, 5)) // or the close would be a reset
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}()
	steps, good := run(t, destination(t, "https://"+listener.Addr().String()+"/"))
	expect(t, steps, good, noToken, connected,
		"FAIL tls: EOF | something on the way, or another kind of server, ended the handshake: check the port of the url")
}

// certificate signs one for loopback that ends at a given time, by an authority
// with a given name.
func certificate(t *testing.T, authority string, end time.Time) (cert tls.Certificate, ca []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{authority}, CommonName: "Pretend Pear X1"},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "loopback"},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{leafDER, rootDER}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})
}

// newServer is an https server that takes every write.
func newServer(t *testing.T, cert tls.Certificate) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

func TestStagingCertificate(t *testing.T) {
	cert, ca := certificate(t, "(STAGING) Let's Encrypt", nextYear)
	address := newServer(t, cert)
	const issued = "ok tls: TLS 1.3, certificate by (STAGING) Let's Encrypt Pretend Pear X1 until DATE"
	const accepted = "ok write: an empty write is accepted: HTTP 200 OK"

	steps, good := run(t, destination(t, address))
	expect(t, steps, good, noToken, connected,
		"FAIL tls: tls: failed to verify certificate: x509: certificate signed by unknown authority | the certificate comes from letsencrypt-staging, as test instances have it; for such an instance set tls_config.insecure_skip_verify: true")

	steps, good = run(t, destination(t, address, "tls_config: {insecure_skip_verify: true}"))
	expect(t, steps, good, noToken, connected, issued,
		"note tls: insecure_skip_verify hides a letsencrypt-staging certificate: x509: certificate signed by unknown authority | right for a test instance only: anybody on the way can pass for the endpoint and get the token",
		inTime, accepted)

	steps, good = run(t, destination(t, address, "tls_config: {insecure_skip_verify: true, ca_file: "+caFile(t, ca)+"}"))
	expect(t, steps, good, noToken, connected, issued,
		"note tls: insecure_skip_verify is not needed: the certificate is good | remove it, so that nobody can pass for the endpoint",
		inTime, accepted)
}

func TestCertificateTimes(t *testing.T) {
	cert, ca := certificate(t, "Example", time.Now().Add(-48*time.Hour))
	address := newServer(t, cert)
	steps, good := run(t, destination(t, address, "tls_config: {ca_file: "+caFile(t, ca)+"}"))
	expect(t, steps, good, noToken, connected,
		"FAIL tls: tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time DATE is after DATE | whoever runs the endpoint must renew it, unless this host's clock is wrong: it says DATE")
	steps, good = run(t, destination(t, address, "tls_config: {insecure_skip_verify: true, ca_file: "+caFile(t, ca)+"}"))
	expect(t, steps, good, noToken, connected,
		"ok tls: TLS 1.3, certificate by Example Pretend Pear X1 until DATE",
		"note tls: insecure_skip_verify hides: x509: certificate has expired or is not yet valid: current time DATE is after DATE | anybody on the way can pass for the endpoint and get the token; better set tls_config.ca_file",
		inTime, "ok write: an empty write is accepted: HTTP 200 OK")

	cert, ca = certificate(t, "Example", time.Now().Add(73*time.Hour))
	steps, good = run(t, destination(t, newServer(t, cert), "tls_config: {ca_file: "+caFile(t, ca)+"}"))
	expect(t, steps, good, noToken, connected,
		"ok tls: TLS 1.3, certificate by Example Pretend Pear X1 until DATE",
		"note tls: the endpoint's certificate expires in 3 d | whoever runs the endpoint must renew it",
		inTime, "ok write: an empty write is accepted: HTTP 200 OK")
}

// TestProxy goes through a proxy that refuses, or that asks for a password.
func TestProxy(t *testing.T) {
	status := http.StatusProxyAuthRequired
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer proxy.Close()
	setting := "proxy_url: " + proxy.URL
	const through = "ok proxy: through http://127.0.0.1:PORT"

	steps, good := run(t, destination(t, "https://push.example.org/", setting))
	expect(t, steps, good, noToken, through, connected,
		"FAIL proxy: the proxy refused the connection: Proxy Authentication Required | put user and password into proxy_url, as in http://user:password@proxy:3128")
	steps, good = run(t, destination(t, "http://push.example.org/", setting))
	expect(t, steps, good, noToken, through, connected, inTime,
		"FAIL proxy: HTTP 407 Proxy Authentication Required | put user and password into proxy_url, as in http://user:password@proxy:3128")

	status = http.StatusForbidden
	steps, good = run(t, destination(t, "https://push.example.org/", setting))
	expect(t, steps, good, noToken, through, connected,
		"FAIL proxy: the proxy refused the connection: Forbidden | the proxy does not let this host out to the endpoint: ask whoever runs it, or check proxy_url")

	steps, good = run(t, destination(t, open(t, agenttest.Manners{}).URL(), setting, "no_proxy: 127.0.0.1"))
	expect(t, steps, good, noToken, "ok proxy: none for this endpoint", connected, inTime,
		"ok write: an empty write is accepted: HTTP 200 OK")
}
