// Package remotewrite speaks remote write 1.0 and 2.0 with one endpoint: its
// HTTP client and headers, requests grouped by series, and what its answers
// mean. It knows nothing of the WAL, and keeps no state between requests.
package remotewrite

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"go.yaml.in/yaml/v3"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// Endpoint is one remote_write entry made ready: everything of it that can fail has
// been done, but for its client. It may be used by several goroutines.
type Endpoint struct {
	Name string
	// Config is what upstream's queue gets: one shard, 429 retried, no age
	// limit, no redirects.
	Config   *config.RemoteWriteConfig
	External labels.Labels
	// AgeLimit is sample_age_limit, 0 for none. Upstream's queue does not get
	// it: it would drop samples in its middle, uncounted by position. Whoever
	// sends old samples applies it.
	AgeLimit time.Duration
	// MinBackoff and MaxBackoff are for what the agent sends by itself. Upstream's
	// queue pauses for two seconds at most.
	MinBackoff, MaxBackoff time.Duration
	V2                     bool // remote write 2.0
	// GiveUp: what is answered with a 4xx is given up, as the specification of remote
	// write says (1.0 and 2.0, "Retries & Backoff"), and not held until it is taken. Not
	// so 413 and 429, which say how to go on, and a 5xx in disguise (409, by Opstrace's
	// proxy).
	GiveUp bool

	hash   string
	client *client
	plain  *plainEntry
}

// ErrConvertsHistograms is the refusal of an entry with convert_nhcb_to_classic.
var ErrConvertsHistograms = errors.New("convert_nhcb_to_classic is not supported: one sample would become several series, of which some may be refused, and what became of the sample could not be counted; send it to an endpoint that takes custom buckets (protobuf_message: io.prometheus.write.v2.Request and send_native_histograms: true), or scrape classic histograms in the first place (convert_classic_histograms_to_nhcb: false)")

// queueBackoff bounds the pauses of upstream's queue: the end of the process waits
// for one of them.
const queueBackoff = model.Duration(2 * time.Second)

// NewEndpoint makes an entry ready; external are the labels that its series get
// where they have none of that name. Notices are sentences about what is not
// done as the entry says. rw is not changed. An error is that of a setting that is
// not supported. What its client needs is looked at by Endpoint.Client.
func NewEndpoint(rw *config.RemoteWriteConfig, external labels.Labels) (e *Endpoint, notices []string, err error) {
	if rw.ConvertNHCBToClassic {
		return nil, nil, ErrConvertsHistograms
	}
	own := *rw
	if own.QueueConfig.MaxShards > 1 {
		notices = append(notices, fmt.Sprintf("remote_write %q: one shard is used instead of up to %d, so that samples arrive in order and can be accounted for", rw.Name, own.QueueConfig.MaxShards))
	}
	own.QueueConfig.MinShards, own.QueueConfig.MaxShards = 1, 1
	// A batch is held back or sent, never thrown away: upstream drops one that
	// is answered 429 unless told to retry.
	own.QueueConfig.RetryOnRateLimit = true
	own.QueueConfig.SampleAgeLimit = 0
	// A full queue does not notice that it is stopped before its pause is over
	// (storage/remote: QueueManager.Append).
	own.QueueConfig.MaxBackoff = min(own.QueueConfig.MaxBackoff, queueBackoff)
	own.QueueConfig.MinBackoff = min(own.QueueConfig.MinBackoff, queueBackoff)
	// A followed redirect would take the token to another host, and a 302 turns
	// the POST into a GET whose 200 would pass for an acknowledgement.
	own.HTTPClientConfig.FollowRedirects = false

	hash, err := hashOf(rw, external)
	if err != nil {
		return nil, nil, err
	}
	return &Endpoint{
		Name:       rw.Name,
		Config:     &own,
		External:   external,
		AgeLimit:   time.Duration(rw.QueueConfig.SampleAgeLimit),
		MinBackoff: time.Duration(rw.QueueConfig.MinBackoff),
		MaxBackoff: time.Duration(rw.QueueConfig.MaxBackoff),
		V2:         own.ProtobufMessage == remoteapi.WriteV2MessageType,
		hash:       hash,
		client:     &client{entry: &own},
		plain:      newPlain(&own),
	}, notices, nil
}

// hashOf identifies an entry with its external labels. Secrets marshal to a
// constant, as in upstream's own comparison: a changed secret is taken over
// without a new queue. A password in the URL does not: by the URL a queue's
// batches are told from others.
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

// SameAs reports whether other was made of the same entry and external labels,
// secrets aside.
func (e *Endpoint) SameAs(other *Endpoint) bool { return e.hash == other.hash }

// WithBatchSize returns a copy of e that sends at most n items in a request.
func (e *Endpoint) WithBatchSize(n int) *Endpoint {
	smaller, cfg := *e, *e.Config
	cfg.QueueConfig.MaxSamplesPerSend = n
	smaller.Config = &cfg
	return &smaller
}

// BatchSize is how many items a request of upstream's queue holds at most.
func (e *Endpoint) BatchSize() int { return e.Config.QueueConfig.MaxSamplesPerSend }

// URL is where requests go, without user, password and the values of its query.
// By it a destination is recognised that has another name than in delivery.json.
func (e *Endpoint) URL() string { return redact.Destination(e.Config.URL.URL) }
