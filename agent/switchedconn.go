package agent

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/config"
)

// answerTime is how long an answer may take to be read to its end, from when it was
// asked for, whatever its timeout says. It is far longer than the pause between two
// scrapes mostly is: a connection is closed when it was idle for so long.
const answerTime = 2 * time.Minute

// longestAnswer is answerTime, and more where the timeout of a job is longer: what is
// within its timeout must not be cut off.
func longestAnswer(jobs []*config.ScrapeConfig) time.Duration {
	longest := answerTime
	for _, job := range jobs {
		longest = max(longest, time.Duration(job.ScrapeTimeout)+answerTime/4)
	}
	return longest
}

// scrapeOptions bound the answers of targets in time, even those that switch to
// another protocol. most is asked at each request.
func scrapeOptions(most func() time.Duration) []config_util.HTTPClientOption {
	var dialer net.Dialer
	return []config_util.HTTPClientOption{
		config_util.WithDialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &switchedConn{Conn: conn, most: most}, nil
		}),
	}
}

// errSwitched is the end of a connection whose peer answers 101.
var errSwitched = errors.New("the answer is 101 Switching Protocols, which was not asked for")

// switchedConn fails when the peer switches to another protocol. Upstream reads every
// answer to its end, and that of a 101 is the connection itself, which neither a
// timeout nor a stop reaches: the scrape would never end, and a reload and the end of
// the process would wait for it. Where it is encrypted, nobody can look inside: then it
// ends some time after the last request.
type switchedConn struct {
	net.Conn

	most func() time.Duration

	mtx   sync.Mutex // a request is written while the last answer's end is awaited
	begin []byte     // of the answer, without blanks, as far as it is needed
}

// Write implements net.Conn.
func (c *switchedConn) Write(b []byte) (int, error) {
	c.mtx.Lock()
	c.begin = c.begin[:0]
	c.mtx.Unlock()
	if err := c.SetReadDeadline(time.Now().Add(c.most())); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Read implements net.Conn.
func (c *switchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mtx.Lock()
	defer c.mtx.Unlock()
	c.begin = answerBegin(c.begin, b[:n])
	if isSwitch(c.begin) {
		return 0, errSwitched
	}
	return n, err
}

// statusEnd is where the status of an answer ends, blanks left out: there may be many.
const statusEnd = len("HTTP/1.1101")

// answerBegin appends what is still needed of an answer to what was read of it before.
func answerBegin(begin, more []byte) []byte {
	for _, b := range more {
		if len(begin) == statusEnd {
			break
		}
		if b != ' ' {
			begin = append(begin, b)
		}
	}
	return begin
}

// isSwitch reports whether an answer that begins so is a 101.
func isSwitch(begin []byte) bool {
	return len(begin) == statusEnd && bytes.HasPrefix(begin, []byte("HTTP/")) && bytes.HasSuffix(begin, []byte("101"))
}
