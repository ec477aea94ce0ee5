package remotewrite

import (
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage/remote"

	"github.com/opstrace/opstrace-agent/agent/regular"
)

// client is the HTTP client of an entry, built when it is wanted first: a file that
// it needs may be missing for a while.
type client struct {
	entry *config.RemoteWriteConfig

	mtx  sync.Mutex
	http *http.Client // nil: not built yet
}

func (c *client) get() (*http.Client, error) {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	if c.http != nil {
		return c.http, nil
	}
	err := regular.CheckClient(c.entry.HTTPClientConfig)
	var built *http.Client
	if err == nil {
		built, err = newClient(c.entry)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use its certificates or credentials: %w", err)
	}
	c.http = built
	return built, nil
}

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
	rc.Client.Transport = unswitched{rc.Client.Transport}
	return rc.Client, nil
}

// unswitched takes the body from an answer 101 Switching Protocols, which is the
// connection itself: no timeout reaches it, and who reads it to its end waits for ever.
type unswitched struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t unswitched) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body.Close()
		resp.Body = http.NoBody
	}
	return resp, err
}

// Client is the HTTP client of the endpoint as upstream builds it: it reads its files by
// itself. What the agent sends goes by clients of Plain settings. An error is that of a
// file that it needs (a certificate, say) and is missing or unusable at this moment:
// asked again, it tries again. Once it could be built, it stays the same.
func (e *Endpoint) Client() (*http.Client, error) { return e.client.get() }
