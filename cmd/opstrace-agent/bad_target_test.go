package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestBadTargetInTheLog: what is wrong with a target at every scrape is said once for
// each of them, and not at every scrape.
func TestBadTargetInTheLog(t *testing.T) {
	t.Parallel()
	var scrapes [2]atomic.Int64
	var addresses [2]string
	for i := range scrapes {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			fmt.Fprintf(w, "ahead 1 %d\nm 1\nm 2\n", time.Now().Add(time.Hour).UnixMilli())
			scrapes[i].Add(1)
		}))
		defer s.Close()
		addresses[i] = s.Listener.Addr().String()
	}
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "c.yml"), fmt.Sprintf(`global: {scrape_interval: 300ms, scrape_timeout: 300ms}
scrape_configs:
- job_name: bad
  static_configs: [{targets: [%q, %q]}]
remote_write: [{name: dead, url: "http://127.0.0.1:1/push"}]
`, addresses[0], addresses[1]))
	r := start(t, nil, "--config.file="+file, "--storage.agent.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	r.eventually("five scrapes of each", func() bool { return scrapes[0].Load() >= 5 && scrapes[1].Load() >= 5 })
	for _, words := range []string{"too far into the future", "different value but same timestamp"} {
		if n := strings.Count(r.log.String(), words); n != 2 {
			t.Errorf("%q is said %d times, want once for each target", words, n)
		}
	}
}
