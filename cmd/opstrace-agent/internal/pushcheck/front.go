package pushcheck

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
)

// writeHTTPS is what to do where plain HTTP meets TLS.
const writeHTTPS = "this port speaks TLS: write https:// in the url"

// speaksTLS asks, after plain HTTP had no answer of a receiver, whether the port is
// one for TLS. Nothing is sent over that connection.
func (c *check) speaksTLS(ctx context.Context) bool {
	if c.rw.URL.Scheme != "http" || c.proxy != "" {
		return false
	}
	port := c.rw.URL.Port()
	if port == "" {
		port = "80"
	}
	// Whose certificate it is does not matter yet.
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(c.rw.URL.Hostname(), port))
	if err == nil {
		_ = conn.Close()
		return true
	}
	op := (*net.OpError)(nil)
	return errors.As(err, &op) && op.Op == "remote error" // it refuses in the language of TLS
}

// pageHint is what to do about a page that something in front of the endpoint
// answers with 400, by the words of nginx, HAProxy, Apache, Squid and the load
// balancers of clouds.
func pageHint(body string) string {
	body = strings.ToLower(body)
	for _, known := range []struct{ words, hint string }{
		{"plain http request was sent to https", writeHTTPS},
		{"http request to an https server", writeHTTPS},
		{"speaking plain http", writeHTTPS},
		{"no required ssl certificate", "the endpoint asks for a certificate of the client: set tls_config.cert_file and key_file"},
		{"ssl certificate error", "the endpoint does not take the certificate of the client: renew tls_config.cert_file and key_file, or name the right ones"},
		{"header or cookie too large", "the header is too long for a proxy on the way: check that the token file holds the token alone"},
		{"invalid hostname", "something on the way does not know this host: check the url"},
		{"invalid url", "the url is that of a proxy: put the proxy into proxy_url, and the endpoint into url"},
	} {
		if strings.Contains(body, known.words) {
			return known.hint
		}
	}
	return "something in front of the endpoint answers in its place; the agent would keep the samples and try again: check http or https in the url, the port, and the client certificate"
}
