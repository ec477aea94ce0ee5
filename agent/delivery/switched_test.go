package delivery

import (
	"io"
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
func switcher(t *testing.T, behind string) (address string, switching *atomic.Bool, switched *atomic.Int64) {
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
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, keep-alive\r\nUpgrade: x\r\n\r\n"))
		switched.Add(1)
		_, _ = conn.Read(make([]byte, 1)) // until the other side ends it
	}))
	t.Cleanup(server.Close)
	return server.URL + u.Path, switching, switched
}

// TestSwitchedWhileLive: a live queue whose endpoint answers 101 Switching Protocols goes
// behind when the request's time is over, and all is delivered when the endpoint is
// itself again, once each.
func TestSwitchedWhileLive(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	address, switching, switched := switcher(t, r.one().URL())
	r.urls = map[string]string{"one": address}
	r.timeout = "1s"
	r.open()
	r.awaitState("one", Live)
	r.scrapes(2, 20)
	r.awaitSettled("one")
	switching.Store(true)
	r.scrapes(2, 20)
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
	address, switching, switched := switcher(t, r.one().URL())
	r.urls = map[string]string{"one": address}
	r.timeout = "10m"
	r.open()
	r.awaitState("one", Live)
	r.scrapes(2, 20)
	r.awaitSettled("one")
	switching.Store(true)
	r.scrapes(2, 20)
	r.eventually("the queue to be answered so", func() error {
		if switched.Load() == 0 {
			return errNotYet("no request")
		}
		return nil
	})
	stopped := make(chan struct{})
	go func() { r.close(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Fatal("the stop waits for the queue")
	}
	switching.Store(false)
	r.open()
	r.awaitState("one", Live)
	r.checkDelivered("one")
}

type errNotYet string

func (e errNotYet) Error() string { return "not yet: " + string(e) }
