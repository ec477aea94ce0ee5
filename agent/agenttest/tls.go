package agenttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync/atomic"
	"time"
)

// Domain is one of which no name is known anywhere (RFC 2606). Certificates of endpoints are
// good for the names in it.
const Domain = "agenttest.invalid"

// TLSState is what a client meets in the handshake.
type TLSState int32

const (
	// TLSTrusted shows the certificate that CA returns.
	TLSTrusted TLSState = iota
	// TLSUntrusted shows a certificate that no client trusts.
	TLSUntrusted
	// TLSRefused ends each handshake with an alert, which reaches those
	// clients too that verify nothing.
	TLSRefused
)

var errHandshake = errors.New("handshake refused")

// tlsIdentity is the certificate that clients are told to trust, and one that
// they are not.
type tlsIdentity struct {
	ca                 []byte // PEM
	trusted, untrusted tls.Certificate
	state              atomic.Int32
}

func newTLSIdentity() (*tlsIdentity, error) {
	id := &tlsIdentity{}
	var err error
	if id.trusted, err = selfSigned(); err != nil {
		return nil, err
	}
	if id.untrusted, err = selfSigned(); err != nil {
		return nil, err
	}
	id.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.trusted.Certificate[0]})
	return id, nil
}

func (id *tlsIdentity) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// One request at a time per connection, as upstream's write client
		// has it: connections are counted, closed and reset here.
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			switch TLSState(id.state.Load()) {
			case TLSUntrusted:
				return &id.untrusted, nil
			case TLSRefused:
				return nil, errHandshake
			default:
				return &id.trusted, nil
			}
		},
		// A resumed session would skip the certificate.
		SessionTicketsDisabled: true,
	}
}

// selfSigned makes a certificate for loopback that is its own authority.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cannot make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cannot make a serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "opstrace on loopback"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:              []string{"localhost", "*." + Domain},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cannot sign a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
