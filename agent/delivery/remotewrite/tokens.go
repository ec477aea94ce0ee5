package remotewrite

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage/remote"
	"golang.org/x/sync/singleflight"

	"github.com/opstrace/opstrace-agent/agent/regular"
	"github.com/opstrace/opstrace-agent/agent/switching"
)

// tokens has the token of an OAuth2 entry, from its token endpoint. It is upstream's
// own, with a bound for the time of each answer: upstream has none, and holds whoever
// wants a token until the endpoint answers.
type tokens struct {
	url    string // of the remote_write entry
	rt     http.RoundTripper
	asking singleflight.Group
}

// jwtBearer is the grant type whose credential is a key.
const jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// newTokens asks nobody yet. An answer may take as long as one of the entry's own.
func newTokens(o *config_util.OAuth2, entry *config.RemoteWriteConfig, secrets *regular.Secrets) *tokens {
	own := regular.Refs(config_util.HTTPClientConfig{OAuth2: o}).OAuth2
	inline, path := o.ClientSecret, o.ClientSecretFile
	if o.GrantType == jwtBearer {
		inline, path = o.ClientCertificateKey, o.ClientCertificateKeyFile
	}
	var credential config_util.SecretReader = config_util.NewInlineSecret(string(inline))
	if path != "" {
		credential = regular.Secret{Secrets: secrets, Path: path}
	}
	within := time.Duration(entry.RemoteTimeout)
	dial := switching.Dialer(&net.Dialer{Timeout: within}, func() time.Duration { return within })
	return &tokens{
		url: entry.URL.String(),
		rt:  config_util.NewOAuth2RoundTripper(credential, own, echo{}, config_util.WithDialContextFunc(dial), config_util.WithSecretManager(secrets)),
	}
}

// get returns the token, a new one if the last has expired. It returns when ctx ends;
// whoever asks next waits for the same answer.
func (t *tokens) get(ctx context.Context) (*config_util.Authorization, error) {
	answer := t.asking.DoChan("", func() (any, error) { return t.ask() })
	select {
	case a := <-answer:
		if a.Err != nil {
			return nil, fmt.Errorf("unable to use the token endpoint: %w", a.Err)
		}
		kind, token, _ := strings.Cut(a.Val.(string), " ")
		return &config_util.Authorization{Type: kind, Credentials: config_util.Secret(token)}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("unable to use the token endpoint: it does not answer: %w", context.Cause(ctx))
	}
}

// ask returns the header that upstream would send.
func (t *tokens) ask() (string, error) {
	req, err := http.NewRequest(http.MethodPost, t.url, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", remote.UserAgent) // the token endpoint is told, too
	resp, err := t.rt.RoundTrip(req)
	if err != nil {
		return "", err
	}
	return resp.Header.Get("Authorization"), resp.Body.Close()
}

// echo answers with the header of the request.
type echo struct{}

// RoundTrip implements http.RoundTripper.
func (echo) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: req.Header, Body: http.NoBody, Request: req}, nil
}
