package pushcheck

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/opstrace/opstrace-agent/agent/redact"
	"github.com/opstrace/opstrace-agent/agent/verdict"
)

// explain reports why no answer came.
func (c *check) explain(ctx context.Context, err error, conn *connection) bool {
	if outer := (*url.Error)(nil); errors.As(err, &outer) {
		err = outer.Err // it would repeat the URL
	}
	text := redact.Line(err.Error(), 300)
	timeout := errors.Is(err, context.DeadlineExceeded)
	if timeout {
		text = "no answer within " + c.rw.RemoteTimeout.String()
	}
	if lookup := (*net.DNSError)(nil); errors.As(err, &lookup) {
		return c.fail(StepDNS, text, c.dnsHint(lookup))
	}
	switch conn.reached() {
	case "":
		return c.fail(StepToken, text, c.fileHint(err, "the agent could not send a single request so"))
	case StepTCP:
		step, hint := c.tcpHint(err, timeout)
		return c.fail(step, text, hint)
	case StepProxy:
		return c.fail(StepProxy, "the proxy refused the connection: "+text, proxyHint(text))
	case StepTLS:
		return c.fail(StepTLS, text, c.tlsHint(err))
	}
	if timeout {
		return c.fail(StepWrite, text, "the connection stands, but nobody behind it answers; the agent would try again")
	}
	if c.speaksTLS(ctx) {
		return c.fail(StepWrite, text, writeHTTPS)
	}
	return c.fail(StepWrite, text, "the connection was cut before an answer came; the agent would try again")
}

func (c *check) dnsHint(err *net.DNSError) string {
	switch {
	case !err.IsNotFound:
		return verdict.HintFor(err.Error())
	case c.proxy != "":
		return "check the name in proxy_url"
	case c.hostTenant() != "":
		return fmt.Sprintf("the name of a new tenant takes some minutes to appear; if tenant %q is not new, check the spelling of cluster and tenant", c.hostTenant())
	}
	return "check the spelling of the name in url"
}

func (c *check) tcpHint(err error, timeout bool) (step, hint string) {
	if c.proxy != "" {
		return StepProxy, "the proxy " + c.proxy + " cannot be reached: check proxy_url"
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return StepTCP, "nothing listens there: check host and port of the url"
	case timeout, errors.Is(err, syscall.ETIMEDOUT):
		return StepTCP, "a firewall swallows the packets, or this network needs a proxy: set proxy_url"
	}
	return StepTCP, "this host has no way there: check its network, its firewall, and whether it needs a proxy (proxy_url)"
}

func proxyHint(text string) string {
	if strings.Contains(text, http.StatusText(http.StatusProxyAuthRequired)) {
		return "put user and password into proxy_url, as in http://user:password@proxy:3128"
	}
	return "the proxy does not let this host out to the endpoint: ask whoever runs it, or check proxy_url"
}

func (c *check) tlsHint(err error) string {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		op       *net.OpError
	)
	switch {
	case errors.As(err, &verify) && staging(verify.UnverifiedCertificates):
		return "the certificate comes from letsencrypt-staging, as test instances have it; for such an instance set tls_config.insecure_skip_verify: true"
	case errors.As(err, &unknown):
		return "the certificate is of a private authority, or of a proxy that reads along: set tls_config.ca_file to the authority's certificate"
	case errors.As(err, &hostname):
		return "another server answers under this name: check the url, and whether a login page of this network is in between"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("whoever runs the endpoint must renew it, unless this host's clock is wrong: it says %s", time.Now().UTC().Format("2006-01-02 15:04 UTC"))
	case errors.Is(err, http.ErrSchemeMismatch):
		return "this port speaks http without TLS: check the port of the url, or write http://"
	case errors.As(err, &op) && op.Op == "remote error":
		return "the server ended the handshake; if it asks for a certificate of the client, set tls_config.cert_file and key_file"
	}
	return "something on the way, or another kind of server, ended the handshake: check the port of the url"
}
