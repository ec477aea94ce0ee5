package agent

import (
	"context"
	"fmt"
	"net"
	"time"

	config_util "github.com/prometheus/common/config"

	"github.com/opstrace/opstrace-agent/agent/regular"
	"github.com/opstrace/opstrace-agent/agent/switching"
)

// discoveryBody returns what one answer of an HTTP discovery may have, in bytes, where
// a target may answer so many: each of its targets takes many times its own length.
func discoveryBody(bodySize int64) int64 { return max(minDiscoveryBody, bodySize/4) }

// minDiscoveryBody lists thousands of targets.
const minDiscoveryBody = 1 << 20

// discoveryOptions bound the answers of HTTP discoveries, which upstream reads to
// their end. Each answer has a connection to itself, which ends with an error when it
// has given too much: there is no other place to count.
func discoveryOptions(bodySize int64) []config_util.HTTPClientOption {
	most := discoveryBody(bodySize)
	var dialer net.Dialer
	return []config_util.HTTPClientOption{
		config_util.WithSecretManager(new(regular.Secrets)),
		config_util.WithKeepAlivesDisabled(),
		config_util.WithHTTP2Disabled(),
		config_util.WithDialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			// Beside the body, there are the header and what TLS adds.
			bounded := &boundedConn{Conn: conn, most: most, left: most + most/16 + 64<<10}
			return switching.NewConn(bounded, func() time.Duration { return answerTime }), nil
		}),
	}
}

// boundedConn gives so many bytes, and fails then. It has one reader at a time.
type boundedConn struct {
	net.Conn

	most, left int64
}

// Read implements net.Conn.
func (c *boundedConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("the answer has more than %d bytes", c.most)
	}
	n, err := c.Conn.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	return n, err
}
