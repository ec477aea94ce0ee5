package delivery

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage/remote"
	"go.yaml.in/yaml/v3"
)

// endpoint is one remote_write entry made ready: everything of it that can
// fail has been done.
type endpoint struct {
	name     string
	cfg      *config.RemoteWriteConfig // upstream's queue gets exactly this
	external labels.Labels
	// ageLimit is sample_age_limit; upstream's queue does not get it.
	ageLimit time.Duration
	// hash tells whether a reload changed anything but secrets.
	hash   string
	client *http.Client
	v2     bool
}

// Prepared is a configuration whose remote_write entries have been checked and
// whose clients have been built. Nothing is touched until Delivery.Apply.
type Prepared struct {
	endpoints []*endpoint
	external  labels.Labels
	// Notices are things that an operator should know about the configuration.
	Notices []string
}

// Prepare builds the client of every destination in cfg. It changes nothing.
func Prepare(cfg *config.Config) (*Prepared, error) {
	p := &Prepared{external: cfg.GlobalConfig.ExternalLabels}
	seen := map[string]bool{}
	for i, rw := range cfg.RemoteWriteConfigs {
		if rw.Name == "" {
			return nil, fmt.Errorf("remote_write entry %d has no name", i)
		}
		if seen[rw.Name] {
			return nil, fmt.Errorf("remote_write name %q is used twice", rw.Name)
		}
		seen[rw.Name] = true
		e, notices, err := newEndpoint(rw, p.external)
		if err != nil {
			return nil, fmt.Errorf("remote_write %q: %w", rw.Name, err)
		}
		p.endpoints = append(p.endpoints, e)
		p.Notices = append(p.Notices, notices...)
	}
	return p, nil
}

func newEndpoint(rw *config.RemoteWriteConfig, external labels.Labels) (*endpoint, []string, error) {
	var notices []string
	own := *rw
	if own.QueueConfig.MaxShards > 1 {
		notices = append(notices, fmt.Sprintf("remote_write %q: one shard is used instead of up to %d, so that samples arrive in order and can be accounted for", rw.Name, own.QueueConfig.MaxShards))
	}
	own.QueueConfig.MinShards, own.QueueConfig.MaxShards = 1, 1
	// A batch is held back or sent, never thrown away: upstream drops one that
	// is answered 429 unless told to retry.
	own.QueueConfig.RetryOnRateLimit = true
	// Upstream drops samples by age in the middle of its queue, uncounted by
	// position; the age limit is applied by the drainer, which is where old
	// samples come from.
	own.QueueConfig.SampleAgeLimit = 0
	// A followed redirect would take the token to another host, and a 302 turns
	// the POST into a GET whose 200 would pass for an acknowledgement.
	own.HTTPClientConfig.FollowRedirects = false

	client, err := newWriteClient(&own)
	if err != nil {
		return nil, nil, err
	}
	hash, err := hashOf(rw, external)
	if err != nil {
		return nil, nil, err
	}
	return &endpoint{
		name:     rw.Name,
		cfg:      &own,
		ageLimit: time.Duration(rw.QueueConfig.SampleAgeLimit),
		external: external,
		hash:     hash,
		client:   client,
		v2:       own.ProtobufMessage == remoteapi.WriteV2MessageType,
	}, notices, nil
}

// newWriteClient builds the client that upstream's queue builds of an entry.
func newWriteClient(rw *config.RemoteWriteConfig) (*http.Client, error) {
	c, err := remote.NewWriteClient(rw.Name, &remote.ClientConfig{
		URL:              rw.URL,
		WriteProtoMsg:    rw.ProtobufMessage,
		Timeout:          rw.RemoteTimeout,
		HTTPClientConfig: rw.HTTPClientConfig,
		SigV4Config:      rw.SigV4Config,
		AzureADConfig:    rw.AzureADConfig,
		GoogleIAMConfig:  rw.GoogleIAMConfig,
		Headers:          rw.Headers,
		RetryOnRateLimit: rw.QueueConfig.RetryOnRateLimit,
		RoundRobinDNS:    rw.RoundRobinDNS,
	})
	if err != nil {
		return nil, err
	}
	rc, ok := c.(*remote.Client)
	if !ok {
		return nil, errors.New("upstream's write client is of an unknown type")
	}
	return rc.Client, nil
}

// hashOf identifies an entry with its external labels. Secrets marshal to a
// constant, as in upstream's own comparison: a changed secret is taken over
// without a new queue. A password in the URL does not: by the URL a queue's
// batches are told from others (see tap).
func hashOf(rw *config.RemoteWriteConfig, external labels.Labels) (string, error) {
	b, err := yaml.Marshal(rw)
	if err != nil {
		return "", fmt.Errorf("cannot compare configurations: %w", err)
	}
	h := sha256.New()
	h.Write(b)
	h.Write([]byte(rw.URL.String()))
	h.Write([]byte(external.String()))
	return hex.EncodeToString(h.Sum(nil)), nil
}

// withBatchSize returns a copy of e that sends at most n items in a request.
func (e *endpoint) withBatchSize(n int) *endpoint {
	smaller, cfg := *e, *e.cfg
	cfg.QueueConfig.MaxSamplesPerSend = n
	smaller.cfg = &cfg
	return &smaller
}

// redactURL returns a URL without what may be a secret: user, password, and the
// values of the query.
func redactURL(u *config_util.URL) string {
	if u == nil || u.URL == nil {
		return ""
	}
	c := *u.URL
	if c.User != nil {
		c.User = url.UserPassword("xxxxx", "xxxxx")
	}
	query := c.Query()
	for name := range query {
		query.Set(name, "xxxxx")
	}
	c.RawQuery = query.Encode()
	return c.String()
}
