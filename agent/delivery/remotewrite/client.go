package remotewrite

import (
	"errors"
	"net/http"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage/remote"
)

// newClient builds the client that upstream's queue builds of an entry: same
// TLS, token file, headers, proxy and signatures.
func newClient(rw *config.RemoteWriteConfig) (*http.Client, error) {
	c, err := remote.NewWriteClient(rw.Name, &remote.ClientConfig{
		URL:              rw.URL,
		WriteProtoMsg:    rw.ProtobufMessage,
		Timeout:          rw.RemoteTimeout,
		HTTPClientConfig: rw.HTTPClientConfig,
		SigV4Config:      rw.SigV4Config,
		AzureADConfig:    rw.AzureADConfig,
		GoogleIAMConfig:  rw.GoogleIAMConfig,
		Headers:          rw.Headers,
		RetryOnRateLimit: rw.QueueConfig.RetryOnRateLimit,
		RoundRobinDNS:    rw.RoundRobinDNS,
	})
	if err != nil {
		return nil, err
	}
	rc, ok := c.(*remote.Client)
	if !ok {
		return nil, errors.New("upstream's write client is of an unknown type")
	}
	return rc.Client, nil
}

// Client is the HTTP client of the endpoint.
func (e *Endpoint) Client() *http.Client { return e.client }
