package remotewrite

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
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
	if e.Name != "one" || e.AgeLimit != time.Hour || !e.V2 || e.External.Get("site") != "a" || e.BatchSize() != 300 || e.Client() == nil {
		t.Errorf("%+v", e)
	}
	if rw.QueueConfig != before.QueueConfig || !rw.HTTPClientConfig.FollowRedirects {
		t.Error("the configuration was changed")
	}
	smaller := e.WithBatchSize(20)
	if smaller.BatchSize() != 20 || e.BatchSize() != 300 || !smaller.SameAs(e) || smaller.Client() != e.Client() {
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
	_, _, err = NewEndpoint(loadEntry(t, "http://127.0.0.1/", "    tls_config: {ca_file: /nonexistent/ca.pem}"), labels.EmptyLabels())
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/ca.pem") {
		t.Errorf("a missing certificate: %v", err)
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
