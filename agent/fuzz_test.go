package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// exposed is a target that answers anything.
type exposed struct {
	mtx         sync.Mutex
	contentType string
	body        []byte
	scraped     int
	changed     chan struct{} // closed and replaced at every scrape
}

func (e *exposed) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	e.mtx.Lock()
	defer e.mtx.Unlock()
	e.scraped++
	close(e.changed)
	e.changed = make(chan struct{})
	w.Header().Set("Content-Type", e.contentType)
	_, _ = w.Write(e.body)
}

// show changes the answer, and waits until it was scraped twice and taken up once.
func (e *exposed) show(ctx context.Context, contentType string, body []byte) error {
	e.mtx.Lock()
	e.contentType, e.body = contentType, body
	until := e.scraped + 2
	e.mtx.Unlock()
	for {
		e.mtx.Lock()
		scraped, changed := e.scraped, e.changed
		e.mtx.Unlock()
		if scraped >= until {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("not scraped: %w", ctx.Err())
		}
	}
}

// FuzzExposition has a target answer anything, the whole way from the scrape to an
// endpoint: the ledger adds up, and a good target beside it loses nothing.
func FuzzExposition(f *testing.F) {
	const text, open, protobuf = "text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
	f.Add(text, []byte("# HELP a b\n# TYPE a counter\na{b=\"c\"} 1\na{b=\"c\"} 2\na 1 99999999999999\nup 3\n"))
	f.Add(text, []byte("a{__name__=\"b\",__address__=\"c\",job=\"x\"} NaN\nb -Inf -1\nc 0x1p-3\n\xff\xfe{} 1\na{b=\"\xff\"} 1"))
	f.Add(open, []byte("# TYPE a counter\na_total 1 # {trace_id=\"x\"} 1 1\na_created 1\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_count 1\nh_sum 1\n# EOF\n"))
	f.Add(open, []byte("a 1\n# EOF\nb 2\n"))
	f.Add(protobuf, []byte("\x10\n\x01a\x12\x01b\x18\x00\"\x07\x1a\x05\t\x00\x00\x00\x00"))
	f.Add("text/html", []byte("<html>"))
	f.Add("", []byte(nil))

	target := &exposed{changed: make(chan struct{})}
	server := httptest.NewServer(target)
	f.Cleanup(server.Close)
	r := newRig(f, agenttest.Manners{})
	good := r.targets.Add("good", agenttest.TargetOptions{Series: 3})
	r.jobs = fmt.Sprintf("  - job_name: any\n    scrape_interval: 50ms\n    scrape_timeout: 50ms\n    static_configs: [{targets: [%q]}]\n", server.Listener.Addr())
	a, _ := r.inProcess(agent.Options{MaxClockWait: -1})
	f.Cleanup(func() { r.awaitStored(r.endpoint, "", good) })
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := target.show(ctx, contentType, body); err != nil {
			t.Fatal(err)
		}
		for _, d := range a.Status().Destinations {
			if l := d.Ledger; l.Appended != l.Sum() {
				t.Errorf("appended %d, accounted for %d: %+v", l.Appended, l.Sum(), l)
			}
		}
	})
}
