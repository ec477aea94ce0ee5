package remotewrite

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// loadEntry reads a remote_write entry; extra lines are indented by four spaces.
func loadEntry(t testing.TB, url, extra string) *config.RemoteWriteConfig {
	t.Helper()
	cfg, err := config.Load(fmt.Sprintf("remote_write:\n  - name: one\n    url: %s\n%s\n", url, extra), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return cfg.RemoteWriteConfigs[0]
}

func loadEndpoint(t testing.TB, url, extra string) *Endpoint {
	t.Helper()
	e, _, err := NewEndpoint(loadEntry(t, url, extra), labels.FromStrings("site", "a"))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

const protobuf2 = "    protobuf_message: io.prometheus.write.v2.Request\n"

func TestNewEndpoint(t *testing.T) {
	t.Parallel()
	rw := loadEntry(t, "http://127.0.0.1/", "    queue_config: {max_shards: 7, sample_age_limit: 1h, max_samples_per_send: 300}\n    follow_redirects: true\n"+protobuf2)
	before := *rw
	e, notices, err := NewEndpoint(rw, labels.FromStrings("site", "a"))
	if err != nil {
		t.Fatal(err)
	}
	if want := `remote_write "one": one shard is used instead of up to 7, so that samples arrive in order and can be accounted for`; len(notices) != 1 || notices[0] != want {
		t.Errorf("notices %q", notices)
	}
	q := e.Config.QueueConfig
	if time.Duration(q.MaxBackoff) > 2*time.Second || q.MinShards != 1 || q.MaxShards != 1 || !q.RetryOnRateLimit || q.SampleAgeLimit != 0 || e.Config.HTTPClientConfig.FollowRedirects {
		t.Errorf("upstream's queue would get %+v, redirects followed: %t", q, e.Config.HTTPClientConfig.FollowRedirects)
	}
	if e.Name != "one" || e.AgeLimit != time.Hour || !e.V2 || e.External.Get("site") != "a" || e.BatchSize() != 300 || clientOf(t, e) == nil {
		t.Errorf("%+v", e)
	}
	if rw.QueueConfig != before.QueueConfig || !rw.HTTPClientConfig.FollowRedirects {
		t.Error("the configuration was changed")
	}
	smaller := e.WithBatchSize(20)
	if smaller.BatchSize() != 20 || e.BatchSize() != 300 || !smaller.SameAs(e) || clientOf(t, smaller) != clientOf(t, e) {
		t.Errorf("%d and %d items in a request, same: %t", smaller.BatchSize(), e.BatchSize(), smaller.SameAs(e))
	}
	if _, notices, err := NewEndpoint(loadEntry(t, "http://127.0.0.1/", "    queue_config: {max_shards: 1}"), labels.EmptyLabels()); err != nil || len(notices) != 0 {
		t.Errorf("one shard: notices %q, %v", notices, err)
	}
}

func TestRefusedEntries(t *testing.T) {
	t.Parallel()
	_, _, err := NewEndpoint(loadEntry(t, "http://127.0.0.1/", "    convert_nhcb_to_classic: true"), labels.EmptyLabels())
	if !errors.Is(err, ErrConvertsHistograms) {
		t.Errorf("convert_nhcb_to_classic: %v", err)
	}
}

func clientOf(t *testing.T, e *Endpoint) *http.Client {
	t.Helper()
	c, err := e.Client()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestMissingFiles: an endpoint without a file that it needs is no error, but nothing
// is sent before the file is there; then its client is built, and stays.
func TestMissingFiles(t *testing.T) {
	t.Parallel()
	receiver, err := agenttest.NewEndpoint(agenttest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(receiver.Close)
	absent := filepath.Join(t.TempDir(), "file")
	for name, tc := range map[string]struct {
		extra  string
		client bool // is built all the same: the file is read at each request
	}{
		"ca":            {"    tls_config: {ca_file: %s}", false},
		"certificate":   {"    tls_config: {cert_file: %s, key_file: %[1]s}", false},
		"token":         {"    bearer_token_file: %s", true},
		"credentials":   {"    authorization: {credentials_file: %s}", true},
		"password":      {"    basic_auth: {username: u, password_file: %s}", true},
		"header":        {"    http_headers: {X-A: {files: [%s]}}", true},
		"oauth2 secret": {"    oauth2: {client_id: i, client_secret_file: %s, token_url: 'http://127.0.0.1:1'}", true},
		"ca of oauth2":  {"    oauth2: {client_id: i, client_secret: s, token_url: 'https://127.0.0.1:1', tls_config: {ca_file: %s}}", true},
	} {
		e := loadEndpoint(t, receiver.URL(), fmt.Sprintf(tc.extra, absent))
		c, err := e.Client()
		if built := err == nil; built != tc.client || built && c == nil {
			t.Errorf("%s: %v", name, err)
		}
		if !tc.client && !(strings.HasPrefix(err.Error(), "cannot use its certificates or credentials: ") && strings.Contains(err.Error(), absent)) {
			t.Errorf("%s: %v", name, err)
		}
		var r *Refusal
		if err := e.Post(t.Context(), nil, 0); !errors.As(err, &r) || r.Class() != Unanswered {
			t.Errorf("%s: a request: %v", name, err)
		}
	}
	e := loadEndpoint(t, receiver.URL(), fmt.Sprintf("    tls_config: {ca_file: %s}\n    bearer_token: %s", absent, agenttest.DefaultToken))
	for content, usable := range map[string]bool{"": false, "-----BEGIN": false, string(receiver.CA()): true} {
		if err := os.WriteFile(absent, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := loadEndpoint(t, receiver.URL(), fmt.Sprintf("    tls_config: {ca_file: %s}", absent)).Client()
		if (err == nil) != usable {
			t.Errorf("%q: %v", content, err)
		}
	}
	if err := os.WriteFile(absent, receiver.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	first := clientOf(t, e)
	empty, err := NewEncoder(false).Encode(false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Post(t.Context(), empty, 0); err != nil {
		t.Error(err)
	}
	if clientOf(t, e) != first {
		t.Error("the client is not the same any more")
	}
}

func TestSameAs(t *testing.T) {
	t.Parallel()
	const url = "http://user:one@127.0.0.1/"
	base := loadEndpoint(t, url, "    basic_auth: {username: u, password: one}")
	for extra, want := range map[string]bool{
		"    basic_auth: {username: u, password: two}":                         true, // a secret
		"    basic_auth: {username: v, password: one}":                         false,
		"    basic_auth: {username: u, password: one}\n    remote_timeout: 9s": false,
	} {
		if got := loadEndpoint(t, url, extra).SameAs(base); got != want {
			t.Errorf("%s: the same is %t", extra, got)
		}
	}
	if loadEndpoint(t, "http://user:two@127.0.0.1/", "    basic_auth: {username: u, password: one}").SameAs(base) {
		t.Error("another password in the URL: by it a queue's batches are told from others")
	}
	other, _, err := NewEndpoint(loadEntry(t, url, "    basic_auth: {username: u, password: one}"), labels.FromStrings("site", "b"))
	if err != nil {
		t.Fatal(err)
	}
	if other.SameAs(base) {
		t.Error("other external labels")
	}
}

// TestURL: literally what 0.1.0 wrote into delivery.json, where destinations
// that have another name now are recognised by it.
func TestURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://cortex.default.example.opstrace.io/api/v1/push": "https://cortex.default.example.opstrace.io/api/v1/push",
		"http://user@127.0.0.1:9009/push":                        "http://xxxxx:xxxxx@127.0.0.1:9009/push",
		"http://user:p%40ss@127.0.0.1:9009/push?b=1&a=2&flag#f":  "http://xxxxx:xxxxx@127.0.0.1:9009/push?a=xxxxx&b=xxxxx&flag=xxxxx#f",
		"http://127.0.0.1/?a=1&a=2&token=a%20b":                  "http://127.0.0.1/?a=xxxxx&token=xxxxx",
	} {
		if got := loadEndpoint(t, "'"+url+"'", "").URL(); got != want {
			t.Errorf("%s is kept as\n%s instead of\n%s", url, got, want)
		}
	}
}
