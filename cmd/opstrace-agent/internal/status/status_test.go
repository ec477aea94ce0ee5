package status

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	commonconfig "github.com/prometheus/common/config"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/receive"
	"github.com/opstrace/opstrace-agent/agent/verdict"
	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/golden"
)

// now is the time of all tests.
var now = time.Date(2021, 12, 1, 12, 0, 0, 0, time.UTC)

func before(d time.Duration) *time.Time {
	t := now.Add(-d)
	return &t
}

// target is one of /api/v1/targets.
type target struct {
	Pool   string    `json:"scrapePool"`
	URL    string    `json:"scrapeUrl"`
	Error  string    `json:"lastError"`
	At     time.Time `json:"lastScrape"`
	Health string    `json:"health"`
}

// serve answers as an agent does.
func serve(t *testing.T, s agent.Status, targets ...target) *url.URL {
	t.Helper()
	answer := func(w http.ResponseWriter, data any) {
		if err := json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": data}); err != nil {
			t.Error(err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /prefix/api/v1/status/delivery", func(w http.ResponseWriter, _ *http.Request) { answer(w, s) })
	mux.HandleFunc("GET /prefix/api/v1/status/senders", func(w http.ResponseWriter, _ *http.Request) { answer(w, []receive.Sender{}) })
	mux.HandleFunc("GET /prefix/api/v1/targets", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("state") != "active" {
			t.Error("dropped targets were asked for")
		}
		answer(w, map[string]any{"activeTargets": targets})
	})
	return listen(t, mux).JoinPath("prefix")
}

func listen(t *testing.T, h http.Handler) *url.URL {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func ask(t *testing.T, base *url.URL) (*View, error) {
	t.Helper()
	return Ask(t.Context(), http.DefaultClient, base)
}

func storage() agent.StorageStatus {
	return agent.StorageStatus{Bytes: 3 << 20, WALBytes: 2 << 20, BacklogBytes: 1 << 20, MaxBytes: 1 << 30, FreeBytes: 20 << 30, MinFreeBytes: 64 << 20, ActiveSeries: 1234}
}

func live(name string) delivery.Status {
	return delivery.Status{
		Name: "opstrace-" + name, URL: "https://cortex." + name + ".testcluster.opstrace.io/api/v1/push", State: delivery.Live, Since: *before(3 * time.Hour),
		LastSuccess: before(2 * time.Second), Ledger: ledger.Terms{Appended: 1234567, Delivered: 1234567},
	}
}

func healthy() agent.Status {
	return agent.Status{Verdict: judged(), Ready: true, Started: *before(50 * time.Hour), Storage: storage(), Destinations: []delivery.Status{live("default")}}
}

// judged is a verdict with some problems, the worst first.
func judged(problems ...verdict.Problem) verdict.Verdict {
	if len(problems) == 0 {
		return verdict.Verdict{Level: verdict.Good, Headline: "All is well", Problems: []verdict.Problem{}}
	}
	return verdict.Verdict{Level: problems[0].Level, Headline: problems[0].Text, Problems: problems}
}

var up = target{Pool: "node", URL: "http://127.0.0.1:9100/metrics", Health: "up", At: *before(5 * time.Second)}

// clockBack is healthy but for its clock.
func clockBack() agent.Status {
	s := healthy()
	s.Verdict = judged(verdict.Problem{Kind: verdict.ClockStep, Level: verdict.Warn, Text: "The clock was set back by 2 h", Hint: "an endpoint may refuse samples until the clock has caught up", Since: *before(5 * time.Minute)})
	s.Clock = &agent.ClockStatus{Steps: 3, LastStep: *before(5 * time.Minute), LastStepSeconds: -7200.25, Recent: true}
	return s
}

// inTrouble has something of everything.
func inTrouble() (agent.Status, []target) {
	s := healthy()
	s.Storage.Bytes, s.Storage.Refusing = s.Storage.MaxBytes-1, true
	s.Verdict = judged(
		verdict.Problem{Kind: verdict.DiskFull, Level: verdict.Bad, Text: "The disk is full, new samples are refused", Hint: "make room", Since: *before(30 * time.Second)},
		verdict.Problem{Kind: verdict.NotDelivering, Level: verdict.Bad, About: "opstrace-down", Text: "opstrace-down takes nothing: \x1b[2J" + strings.Repeat("x", 1000), Since: *before(12 * time.Minute)},
		verdict.Problem{Kind: verdict.UncleanEnd, Level: verdict.Note, Text: "The run before did not end in order", Since: *before(time.Minute)},
	)
	picky := live("picky")
	picky.LastError, picky.LastErrorAt = "server returned HTTP status 400 Bad Request: out of bounds\n\x1b[2J", before(3*time.Minute)
	picky.Ledger = ledger.Terms{
		Appended: 2000, Delivered: 1000,
		Refused:      map[string]uint64{"out of order": 1, "out of bounds": 12},
		Filtered:     map[string]uint64{"native histograms": 400},
		Uncertain:    map[string]uint64{"no answer": 587},
		DamagedBytes: 4096, LostStretches: 2,
	}
	down := delivery.Status{
		Name: "opstrace-down", URL: "https://cortex.down.testcluster.opstrace.io/api/v1/push", State: delivery.Behind, Since: *before(12 * time.Minute),
		BacklogSamples: 54321, BacklogBytes: 5 << 20, OldestUnsent: before(13 * time.Minute), ETASeconds: -1,
		LastSuccess: before(13 * time.Minute), LastError: "server returned HTTP status 401 Unauthorized: bad authentication token", LastErrorAt: before(5 * time.Second),
		Ledger: ledger.Terms{Appended: 60000, Delivered: 5000, OnDisk: 54321, Evicted: 679, NotAppended: 1},
	}
	catchingUp := delivery.Status{
		Name: "opstrace-late", URL: "https://cortex.late.testcluster.opstrace.io/api/v1/push", State: delivery.Behind, Since: *before(90 * time.Second),
		BacklogSamples: 500000, BacklogBytes: 9 << 20, OldestUnsent: before(20 * time.Minute), CatchUpRate: 12500, ETASeconds: 40,
		LastSuccess: before(time.Second), LastError: "server returned HTTP status 502 Bad Gateway: ", LastErrorAt: before(2 * time.Minute),
		Ledger: ledger.Terms{Appended: 600000, Delivered: 100000, OnDisk: 500000},
	}
	s.Destinations = append(s.Destinations, picky, down, catchingUp)
	s.Limits = &delivery.LimitsStatus{
		Series: 1234, MaxSeries: 1200, Dropped: map[string]uint64{"max_series": 99},
		Worst: map[string][]delivery.Offender{"max_series": {{Job: "node", Instance: "hog:9100", Dropped: 90}, {Job: "node", Instance: "b:9100", Dropped: 9}}},
	}
	s.Kept = []delivery.Kept{{
		Name: "opstrace-gone", URL: "https://cortex.gone.testcluster.opstrace.io/api/v1/push", Since: *before(2 * time.Hour), Until: now.Add(22 * time.Hour),
		BacklogSamples: 12345, BacklogBytes: 2 << 20, Ledger: ledger.Terms{Appended: 20000, Delivered: 7000, Evicted: 655, OnDisk: 12345},
	}}
	s.ForgottenSamples = 4321
	s.StoppedJobs = []agent.StoppedJob{{Job: "secured", Err: "open /etc/ssl/client.pem: no such file or directory"}}
	targets := []target{
		up,
		{Pool: "z", URL: "http://127.0.0.1:9101/metrics", Health: "down", At: *before(4 * time.Second), Error: "connection refused"},
		{Pool: "a", URL: "http://127.0.0.1:9102/metrics", Health: "down", At: *before(6 * time.Second), Error: "server returned HTTP status 404 Not Found"},
		{Pool: "a", URL: "http://127.0.0.1:9103/metrics", Health: "unknown"},
	}
	return s, targets
}

func TestGolden(t *testing.T) {
	trouble, targets := inTrouble()
	many := []target{up}
	for i := range 25 {
		many = append(many, target{Pool: "many", URL: fmt.Sprintf("http://10.0.0.%d/metrics", i+100), Health: "down", At: now, Error: "no"})
	}
	fresh := agent.Status{Verdict: judged(verdict.Problem{Kind: verdict.NotReady, Level: verdict.Unconfirmed, Text: "Not scraping yet: for the clock", Since: *before(3 * time.Second)}), Waiting: "for the clock: it is behind the newest sample by 3 h", Started: *before(3 * time.Second), Storage: storage()}
	for name, tc := range map[string]struct {
		status  agent.Status
		targets []target
		want    Health
	}{
		"clock":    {clockBack(), []target{up}, Degraded},
		"healthy":  {healthy(), []target{up}, Healthy},
		"trouble":  {trouble, targets, Degraded},
		"many":     {healthy(), many, Healthy},
		"starting": {fresh, nil, Degraded},
		"aimless":  {agent.Status{Ready: true, Started: now, Storage: storage()}, nil, Degraded},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := ask(t, serve(t, tc.status, tc.targets...))
			if err != nil {
				t.Fatal(err)
			}
			if v.Health != tc.want {
				t.Errorf("got %s", v.Health)
			}
			var b bytes.Buffer
			if err := v.Print(&b, now); err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, name+".golden.txt", b.String())
			v.URL = "http://127.0.0.1:9095"
			text, err := json.MarshalIndent(v, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, name+".golden.json", string(text)+"\n")
		})
	}
}

func TestUnreachable(t *testing.T) {
	text := func(code int, body string) *url.URL {
		return listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		}))
	}
	closed := httptest.NewServer(nil)
	refused, err := url.Parse(closed.URL)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	secureURL, err := url.Parse(secure.URL)
	if err != nil {
		t.Fatal(err)
	}
	plain := *secureURL
	plain.Scheme = "http"
	withPassword := text(401, "Unauthorized\n")
	withPassword.User = url.UserPassword("me", "s3cret")
	cut := listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000") // and the connection is lost before
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, `{"status": "error", "error": "broken"}`)
	}))

	for name, tc := range map[string]struct {
		base      *url.URL
		msg, hint string
	}{
		"refused": {refused, "dial tcp HOST: connect: connection refused",
			"is it running? If it listens on another address, name that with --url"},
		"not found": {text(404, "404 page not found\n"), "HTTP 404 Not Found: 404 page not found",
			"something else answers there, or the agent runs with --web.route-prefix: put that into --url"},
		"another program": {text(200, "<html>"), "the answer is not an agent's",
			"something else answers there, or the agent runs with --web.route-prefix: put that into --url"},
		"another API": {text(200, `{"status": "success", "data": [1]}`), "the answer is not an agent's",
			"something else answers there, or the agent runs with --web.route-prefix: put that into --url"},
		"password": {withPassword, "HTTP 401 Unauthorized: Unauthorized",
			"it asks for a password: put it into a file for --http.config.file"},
		"error of its own": {text(500, `{"status": "error", "error": "broken"}`), "HTTP 500 Internal Server Error: broken", "check --url"},
		"cut":              {cut, "HTTP 500 Internal Server Error: broken", "check --url"},
		"a page":           {text(502, "<html><body>nginx</body></html>"), "HTTP 502 Bad Gateway", "check --url"},
		"TLS": {&plain, "HTTP 400 Bad Request: Client sent an HTTP request to an HTTPS server.",
			"it listens with TLS: write https:// in --url"},
		"authority": {secureURL, "tls: failed to verify certificate: x509: certificate signed by unknown authority",
			"name the authority of its certificate in a file for --http.config.file"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := ask(t, tc.base)
			unreachable := (*UnreachableError)(nil)
			if !errors.As(err, &unreachable) {
				t.Fatalf("got %v", err)
			}
			want := "cannot ask the agent at " + tc.base.Redacted() + ": " + strings.ReplaceAll(tc.msg, "HOST", tc.base.Host)
			if unreachable.Msg != want || unreachable.Hint != tc.hint {
				t.Errorf("got %q\nhint %q", unreachable.Msg, unreachable.Hint)
			}
			got, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			problem, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf(`{"url":%q,"health":"unreachable","problems":[%s]}`, tc.base.Redacted(), problem); string(got) != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if strings.Contains(string(got), "s3cret") {
				t.Error("the password is shown")
			}
		})
	}
}

func TestSilence(t *testing.T) {
	base := listen(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	client := &http.Client{Timeout: 100 * time.Millisecond}
	_, err := Ask(t.Context(), client, base)
	if want := "cannot ask the agent at " + base.String() + ": no answer in time"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// TestStopping: the targets are gone before the process is.
func TestStopping(t *testing.T) {
	s := healthy()
	s.Waiting = "stopping"
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/status/delivery", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": s})
	})
	mux.HandleFunc("GET /api/v1/targets", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"status":"error","errorType":"unavailable","error":"the agent is not scraping yet; /-/ready tells when"}`)
	})
	v, err := ask(t, listen(t, mux))
	if err != nil || v.Health != Degraded || v.Targets != nil || v.Problems[0] != "Not scraping: stopping" {
		t.Errorf("got %+v, %v", v, err)
	}
}

// TestHTTPConfig: an agent with TLS and a password can be asked.
func TestHTTPConfig(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": agent.Status{}})
	}))
	defer server.Close()
	settings := commonconfig.DefaultHTTPClientConfig
	settings.BasicAuth = &commonconfig.BasicAuth{Username: "me", Password: "s3cret"}
	settings.TLSConfig.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	client, err := commonconfig.NewClientFromConfig(settings, "test")
	if err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := Ask(t.Context(), client, base); err != nil || v.Health != Degraded {
		t.Errorf("got %+v, %v", v, err)
	}
}

// TestSenders: who sends is told, who was heard of last first, with what was not taken.
func TestSenders(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	printSenders(&b, []receive.Sender{
		{Address: "10.0.0.7", Job: "node", Instance: "a", Protocol: "remote_write", Requests: 10, Samples: 12345, Last: *before(time.Hour)},
		{Address: "local", Protocol: "otlp", Requests: 9, Samples: 1, Rejected: 2, Declined: 3, Last: *before(time.Second), LastError: "too much"},
	}, now)
	want := `
senders: 2
  local  otlp
    just now: 1 samples, 2 rejected, 3 of 9 requests not taken as a whole
    last error: too much
  node a 10.0.0.7  remote_write
    60 m ago: 12,345 samples
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}
