package pushcheck

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	commonconfig "github.com/prometheus/common/config"

	"github.com/opstrace/opstrace-agent/agent/number"
	"github.com/opstrace/opstrace-agent/agent/redact"
)

// describeTLS reports a handshake that succeeded, and what it hides where
// nothing was verified.
func (c *check) describeTLS(state tls.ConnectionState, took time.Duration) {
	leaf := state.PeerCertificates[0]
	text := fmt.Sprintf("%s, certificate by %s until %s", tls.VersionName(state.Version), issuer(leaf), leaf.NotAfter.UTC().Format(time.DateOnly))
	c.ok(StepTLS, text, took)
	if left := time.Until(leaf.NotAfter); left > 0 && left < soon {
		c.note(StepTLS, "the endpoint's certificate expires in "+number.Duration(left), "whoever runs the endpoint must renew it")
	}
	if c.rw.HTTPClientConfig.TLSConfig.InsecureSkipVerify {
		c.describeUnverified(state.PeerCertificates)
	}
}

func (c *check) describeUnverified(chain []*x509.Certificate) {
	err := c.verify(chain)
	switch {
	case err == nil:
		c.note(StepTLS, "insecure_skip_verify is not needed: the certificate is good", "remove it, so that nobody can pass for the endpoint")
	case staging(chain):
		c.note(StepTLS, "insecure_skip_verify hides a letsencrypt-staging certificate: "+redact.Line(err.Error(), 200),
			"right for a test instance only: anybody on the way can pass for the endpoint and get the token")
	default:
		c.note(StepTLS, "insecure_skip_verify hides: "+redact.Line(err.Error(), 200),
			"anybody on the way can pass for the endpoint and get the token; better set tls_config.ca_file")
	}
}

// verify does what the agent's client would do without insecure_skip_verify.
func (c *check) verify(chain []*x509.Certificate) error {
	settings := c.rw.HTTPClientConfig.TLSConfig
	client, err := commonconfig.NewTLSConfig(&settings)
	if err != nil {
		return err
	}
	options := x509.VerifyOptions{Roots: client.RootCAs, DNSName: client.ServerName, Intermediates: x509.NewCertPool()}
	if options.DNSName == "" {
		options.DNSName = c.rw.URL.Hostname()
	}
	for _, cert := range chain[1:] {
		options.Intermediates.AddCert(cert)
	}
	_, err = chain[0].Verify(options)
	return err
}

func issuer(cert *x509.Certificate) string {
	name := cert.Issuer.CommonName
	if len(cert.Issuer.Organization) > 0 {
		name = strings.TrimSpace(cert.Issuer.Organization[0] + " " + name)
	}
	return redact.Line(name, 80)
}

// staging reports whether a chain comes from Let's Encrypt's test authority, whose
// names all have this mark.
func staging(chain []*x509.Certificate) bool {
	for _, cert := range chain {
		if strings.Contains(cert.Issuer.String(), "(STAGING)") {
			return true
		}
	}
	return false
}
