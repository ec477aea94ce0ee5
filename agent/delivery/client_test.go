package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/prometheus/config"
)

// loadEndpoint makes the first remote_write entry ready; extra lines are
// indented by four spaces.
func loadEndpoint(t testing.TB, url, extra string) *endpoint {
	t.Helper()
	cfg, err := config.Load(fmt.Sprintf("global: {external_labels: {site: a}}\nremote_write:\n  - name: one\n    url: %s\n%s\n", url, extra), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Prepare(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p.endpoints[0]
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for v, want := range map[string]time.Duration{
		"": 0, "0": 0, "-5": 0, "soon": 0, "7": 7 * time.Second,
		"86400": longestRetryAfter, "9223372036854775807": longestRetryAfter,
		in(-time.Hour): 0, in(time.Hour): longestRetryAfter,
	} {
		if got := retryAfter(v); got != want {
			t.Errorf("Retry-After %q: %s, expected %s", v, got, want)
		}
	}
	if got := retryAfter(in(time.Minute)); got < 58*time.Second || got > time.Minute {
		t.Errorf("a date in a minute: %s", got)
	}
}

// TestBackoff: pauses grow and are jittered, are never zero, never too short
// for an endpoint that names one, and the arithmetic holds for any settings.
func TestBackoff(t *testing.T) {
	t.Parallel()
	backoff := func(queue string) *drain {
		return &drain{destination: &destination{e: loadEndpoint(t, "http://127.0.0.1/", "    queue_config: {"+queue+"}")}}
	}
	d := backoff("min_backoff: 100ms, max_backoff: 1s")
	for attempt, full := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6000, 6000} {
		full *= time.Millisecond
		if got := d.backoff(attempt, 0); got < full/2 || got > full*3/2 {
			t.Errorf("attempt %d: %s, expected about %s", attempt, got, full)
		}
	}
	if got := d.backoff(0, time.Minute); got < time.Minute || got > 90*time.Second {
		t.Errorf("a minute was asked for, and it is %s", got)
	}
	for _, queue := range []string{"min_backoff: 0s, max_backoff: 0s", "min_backoff: 1y, max_backoff: 1y"} {
		for _, attempt := range []int{0, 1, 50, 1 << 40} {
			if got := backoff(queue).backoff(attempt, 0); got < shortestBackoff/2 {
				t.Errorf("%s: attempt %d comes after %s", queue, attempt, got)
			}
		}
	}
}

func TestPost(t *testing.T) {
	t.Parallel()
	var answer func(http.ResponseWriter)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v := r.Header.Get("Retry-Attempt"); v != "3" {
			t.Errorf("Retry-Attempt is %q", v)
		}
		answer(w)
	}))
	defer server.Close()
	status := func(code int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://127.0.0.1:1/login")
			w.Header().Set("Retry-After", "9")
			http.Error(w, "words", code)
		}
	}
	e := loadEndpoint(t, server.URL, "")
	for _, code := range []int{200, 204, 302, 308, 400, 401, 404, 409, 413, 415, 422, 429, 500, 503, 511} {
		answer = status(code)
		err := e.post(context.Background(), []byte("x"), 3)
		var r *refusal
		switch {
		case code < 300:
			if err != nil {
				t.Errorf("%d: %v", code, err)
			}
		case !errors.As(err, &r):
			t.Errorf("%d: %v is no refusal", code, err)
		case r.status != code || r.body != "words" || r.retryAfter != 9*time.Second:
			t.Errorf("%d: %+v", code, r)
		case final(r.status) != (code == 400 || code == 415 || code == 422):
			t.Errorf("%d: final is %t", code, final(r.status))
		case mayHaveStored(r.status, r.Error()) != (code >= 500):
			t.Errorf("%d: may have been stored: %t", code, code < 500)
		}
	}
	v2 := loadEndpoint(t, server.URL, "    protobuf_message: io.prometheus.write.v2.Request")
	answer = func(w http.ResponseWriter) { w.WriteHeader(200) }
	if err := v2.post(context.Background(), nil, 3); !errors.Is(err, errNothingWritten) {
		t.Errorf("2.0, nothing said to be written: %v", err)
	}
	answer = func(w http.ResponseWriter) { w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", "1") }
	if err := v2.post(context.Background(), nil, 3); err != nil {
		t.Errorf("2.0, written: %v", err)
	}
	server.Close()
	var r *refusal
	e = loadEndpoint(t, server.URL, "") // with no connection left over
	if err := e.post(context.Background(), nil, 3); !errors.As(err, &r) || r.status != 0 || mayHaveStored(r.status, r.Error()) {
		t.Errorf("a refused connection: %v", err)
	}
	if !mayHaveStored(0, "Post \"https://x/\": context deadline exceeded") {
		t.Error("a request without an answer may have been stored")
	}
}
