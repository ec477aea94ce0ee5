package delivery

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// switcher stands in front of an endpoint, and answers 101 Switching Protocols to the
// requests that are to switch.
func switcher(t testing.TB, behind string) (address string, switching *atomic.Bool, switched *atomic.Int64) {
	t.Helper()
	u, err := url.Parse(behind)
	if err != nil {
		t.Fatal(err)
	}
	switching, switched = new(atomic.Bool), new(atomic.Int64)
	through := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: u.Scheme, Host: u.Host})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !switching.Load() {
			through.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		err := agenttest.SwitchProtocols(w, func(conn net.Conn) {
			switched.Add(1)
			agenttest.UntilEnded(conn)
		})
		if err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL + u.Path, switching, switched
}

// switchWhileLive has a live destination, with a timeout of requests, whose endpoint
// answers 101 to what was scraped last.
func (r *rig) switchWhileLive(timeout string) (switching *atomic.Bool, switched *atomic.Int64) {
	r.t.Helper()
	address, switching, switched := switcher(r.t, r.one().URL())
	r.urls = map[string]string{"one": address}
	r.timeout = timeout
	r.open()
	r.awaitState("one", Live)
	r.scrapes(2, 20)
	r.awaitSettled("one")
	switching.Store(true)
	r.scrapes(2, 20)
	return switching, switched
}

// TestSwitchedWhileLive: a live queue whose endpoint answers 101 Switching Protocols goes
// behind when the request's time is over, and all is delivered when the endpoint is
// itself again, once each.
func TestSwitchedWhileLive(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	switching, switched := r.switchWhileLive("1s")
	r.awaitState("one", Behind)
	r.eventually("our own client to be answered so", func() error {
		if s := r.status("one"); switched.Load() < 2 || !strings.Contains(s.LastError, "101 Switching Protocols") {
			return errNotYet(s.LastError)
		}
		return nil
	})
	switching.Store(false)
	r.scrapes(2, 20)
	r.awaitState("one", Live)
	r.checkDelivered("one")
}

// TestStopWhileSwitched: neither going behind for lack of answers nor the stop waits for
// a queue that reads an answer without an end.
func TestStopWhileSwitched(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	switching, switched := r.switchWhileLive("10m")
	r.eventually("the queue to be answered so", func() error {
		if switched.Load() == 0 {
			return errNotYet("no request")
		}
		return nil
	})
	r.stopInTime()
	switching.Store(false)
	r.open()
	r.awaitState("one", Live)
	r.checkDelivered("one")
}

// stopInTime fails the test when the stop waits for somebody who does not answer.
func (r *rig) stopInTime() {
	r.t.Helper()
	stopped := make(chan struct{})
	go func() { r.close(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		r.t.Fatal("the stop waits for an answer")
	}
}

type errNotYet string

func (e errNotYet) Error() string { return "not yet: " + string(e) }
