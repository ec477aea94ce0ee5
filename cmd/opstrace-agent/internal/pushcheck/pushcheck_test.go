package pushcheck

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// newJWT makes a token as Opstrace's are, but for the signature.
func newJWT(tenant string, expires time.Time) string {
	return newToken(map[string]any{"sub": "tenant-" + tenant, "iss": "opstrace-cli", "exp": expires.Unix()})
}

func newToken(claims map[string]any) string {
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return part(map[string]any{"alg": "RS256", "typ": "JWT"}) + "." +
		part(claims) + ".c2lnbmF0dXJl"
}

func writeFile(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func newEndpoint(t *testing.T, o agenttest.Options) *agenttest.Endpoint {
	t.Helper()
	e, err := agenttest.NewEndpoint(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// destination loads a remote_write entry for a URL with further settings.
func destination(t *testing.T, address string, settings ...string) *config.RemoteWriteConfig {
	t.Helper()
	text := "remote_write:\n- url: " + address + "\n  remote_timeout: 5s\n"
	for _, s := range settings {
		text += "  " + s + "\n"
	}
	cfg, err := scrapeconfig.Load([]byte(text), filepath.Join(t.TempDir(), "agent.yml"), log.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	return cfg.RemoteWriteConfigs[0]
}

// run checks a destination and returns its steps as text, without what differs
// from run to run.
func run(t *testing.T, rw *config.RemoteWriteConfig) (steps []string, good bool) {
	t.Helper()
	return runWith(t, rw, Options{})
}

func runWith(t *testing.T, rw *config.RemoteWriteConfig, o Options) (steps []string, good bool) {
	t.Helper()
	var mu sync.Mutex
	good = Check(t.Context(), rw, o, func(s Step) {
		mu.Lock()
		defer mu.Unlock()
		text := fmt.Sprintf("%s %s: %s", s.State, s.Name, s.Text)
		if s.Hint != "" {
			text += " | " + s.Hint
		}
		steps = append(steps, normalize(text))
	})
	if auth := rw.HTTPClientConfig.Authorization; auth != nil {
		secret, _ := os.ReadFile(auth.CredentialsFile) // some tests are about files that cannot be read
		for _, part := range strings.Split(strings.TrimSpace(string(secret))+string(auth.Credentials), ".") {
			if len(part) > 10 && strings.Contains(strings.Join(steps, "\n"), part) {
				t.Errorf("the token is shown: %q", steps)
			}
		}
	}
	return steps, good
}

var (
	ports       = regexp.MustCompile(`(127\.0\.0\.1|localhost|\[::1\]|::1|\.io):\d+`)
	tempFiles   = regexp.MustCompile(`(/[^/ ]+)+/(token|missing|ca\.pem)\b`)
	days        = regexp.MustCompile(`\d{4}-\d\d-\d\d( \d\d:\d\d UTC|T[0-9:Z]+)?`)
	reads       = regexp.MustCompile(`read tcp \S+?->`)
	nameservers = regexp.MustCompile(`on \S+?:53:`)
)

func normalize(s string) string {
	s = nameservers.ReplaceAllString(s, "on NAMESERVER:")
	s = reads.ReplaceAllString(s, "read tcp ")
	s = ports.ReplaceAllString(s, "$1:PORT")
	s = tempFiles.ReplaceAllString(s, "$2")
	return days.ReplaceAllString(s, "DATE")
}

func expect(t *testing.T, got []string, good bool, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	if failed := slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, string(Failed)) }); failed == good {
		t.Errorf("Check returned %t", good)
	}
}

const (
	connected = "ok tcp: connected to 127.0.0.1:PORT"
	secure    = "ok tls: TLS 1.3, certificate by opstrace on loopback until DATE"
	inTime    = "ok clock: agrees with the endpoint's"
	goodAuth  = "ok auth: the token is accepted"
	goodToken = "ok token: token, for tenant default, expires on DATE"
	noToken   = "note token: none is configured | right only for an instance without authentication; otherwise set token_file"
)

var nextYear = time.Now().AddDate(1, 0, 0)

// secured is an Opstrace endpoint with one tenant, and the settings to reach it.
func secured(t *testing.T) (e *agenttest.Endpoint, settings []string) {
	token := newJWT("default", nextYear)
	e = newEndpoint(t, agenttest.Options{Tokens: map[string]string{"default": token}})
	return e, []string{
		"bearer_token_file: " + writeFile(t, token+"\n", 0o600),
		"tls_config: {ca_file: " + caFile(t, e.CA()) + "}",
	}
}

func caFile(t *testing.T, pem []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// open is a plain endpoint that asks for no token.
func open(t *testing.T, manners agenttest.Manners) *agenttest.Endpoint {
	return newEndpoint(t, agenttest.Options{PlainHTTP: true, Tokens: map[string]string{"default": ""}, Manners: manners})
}

func TestGood(t *testing.T) {
	e, settings := secured(t)
	steps, good := run(t, destination(t, e.URL(), settings...))
	expect(t, steps, good, goodToken, connected, secure, inTime, goodAuth, "ok write: an empty write is accepted: HTTP 200 OK")

	s := e.Snapshot()
	if len(s.Requests) != 1 || s.Requests[0].Samples != 0 || s.StoredSeries != 0 || s.Accepted != 0 {
		t.Errorf("more than one empty write arrived: %s", s)
	}
}

func TestGoodRemoteWrite2(t *testing.T) {
	e := open(t, agenttest.Manners{RemoteWrite2: agenttest.AcceptRemoteWrite2})
	steps, good := run(t, destination(t, e.URL(), "protobuf_message: io.prometheus.write.v2.Request"))
	expect(t, steps, good, noToken, connected, inTime, "ok write: an empty write is accepted: HTTP 200 OK")
	if s := e.Snapshot(); len(s.Requests) != 1 || s.Requests[0].Version != "2.0" {
		t.Errorf("got %+v", s.Requests)
	}
}

// TestNothingAfterTheEnd: a connection that was given up says nothing more.
func TestNothingAfterTheEnd(t *testing.T) {
	e := open(t, agenttest.Manners{})
	rw := destination(t, e.URL())
	c := &check{rw: rw, report: func(Step) { t.Error("reported after the end") }}
	c.end()
	c.ok(StepTCP, "connected", 0)
}

func TestHostTenant(t *testing.T) {
	for host, want := range map[string]string{
		"cortex.default.testcluster.opstrace.io": "default",
		"cortex.a-b.example.org":                 "a-b",
		"cortex.example.org":                     "",
		"mimir.default.testcluster.opstrace.io":  "",
		"127.0.0.1":                              "",
	} {
		u, err := url.Parse("https://" + host + "/api/v1/push")
		if err != nil {
			t.Fatal(err)
		}
		rw := destination(t, u.String())
		if got := (&check{rw: rw}).hostTenant(); got != want {
			t.Errorf("%s: got %q, want %q", host, got, want)
		}
	}
}
