package pushcheck

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// connection watches how the agent's own HTTP client gets to the endpoint. The
// hooks may be called from several goroutines: addresses are tried in parallel.
type connection struct {
	check *check

	mu        sync.Mutex
	began     map[string]time.Time // by step, and by address for tcp
	connected bool
	ready     time.Time // the request can be sent; zero: no connection stands
	written   time.Time // zero: the request was not sent
}

func (c *check) describeProxy() bool {
	proxyFor := c.rw.HTTPClientConfig.Proxy()
	if proxyFor == nil {
		return true
	}
	u, err := proxyFor(&http.Request{URL: c.rw.URL.URL})
	switch {
	case err != nil:
		return c.fail(StepProxy, err.Error(), "set proxy_url to the address of the proxy, as in http://proxy:3128")
	case u == nil:
		c.ok(StepProxy, "none for this endpoint", 0)
		return true
	}
	c.proxy = u.Host
	c.ok(StepProxy, "through "+u.Redacted(), 0)
	return true
}

func (c *connection) trace() *httptrace.ClientTrace {
	c.began = map[string]time.Time{}
	return &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { c.begin(StepDNS) },
		DNSDone: func(info httptrace.DNSDoneInfo) {
			if info.Err == nil {
				c.resolved(info.Addrs)
			}
		},
		ConnectStart: func(_, addr string) { c.begin(StepTCP + addr) },
		ConnectDone: func(_, addr string, err error) {
			if err == nil {
				c.connect(addr)
			}
		},
		TLSHandshakeStart: func() { c.begin(StepTLS) },
		TLSHandshakeDone: func(state tls.ConnectionState, err error) {
			if err == nil {
				c.check.describeTLS(state, c.since(StepTLS))
			}
		},
		GotConn: func(httptrace.GotConnInfo) {
			c.mu.Lock()
			c.ready = time.Now()
			c.mu.Unlock()
		},
		WroteRequest: func(httptrace.WroteRequestInfo) {
			c.mu.Lock()
			c.written = time.Now()
			c.mu.Unlock()
		},
	}
}

func (c *connection) begin(step string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began[step] = time.Now()
}

func (c *connection) since(step string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.began[step])
}

func (c *connection) resolved(addrs []net.IPAddr) {
	var list []string
	for _, a := range addrs {
		list = append(list, a.String())
	}
	host := c.check.rw.URL.Hostname()
	if c.check.proxy != "" {
		host = c.check.proxy
	}
	c.check.ok(StepDNS, host+" is "+redact.Line(strings.Join(list, ", "), 120), c.since(StepDNS))
}

// connect reports the address that answered first, and not those that were
// slower.
func (c *connection) connect(addr string) {
	took := c.since(StepTCP + addr)
	c.mu.Lock()
	first := !c.connected
	c.connected = true
	c.mu.Unlock()
	if first {
		c.check.ok(StepTCP, "connected to "+addr, took)
	}
}

// reached is the last step that was begun; empty if the client did not get as
// far as looking for the endpoint.
func (c *connection) reached() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, securing := c.began[StepTLS]
	switch {
	case !c.written.IsZero():
		return StepWrite
	case securing:
		return StepTLS
	case c.connected && c.check.proxy != "":
		return StepProxy
	case len(c.began) > 0:
		return StepTCP
	}
	return ""
}

// sent is when the request was written, or begun where that is not known yet: when
// there was a connection for it, or when it was asked for.
func (c *connection) sent(asked time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.written.IsZero():
		return c.written
	case !c.ready.IsZero():
		return c.ready
	}
	return asked
}
