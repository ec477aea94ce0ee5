package remotewrite

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"

	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/agent/regular"
)

// plainEntry makes plain settings of an entry's: with what its files say, and what its token
// endpoint gives, in their place. Upstream reads the files of a client at each request,
// and asks the token endpoint for as long as that likes, and neither a timeout nor a
// stop reaches it then: a pipe in the place of a token would hold a queue for ever. A
// client of plain settings asks nobody but the endpoint.
type plainEntry struct {
	entry   *config.RemoteWriteConfig
	secrets regular.Secrets
	tokens  *tokens // nil: there is no token endpoint

	mtx      sync.Mutex
	contents []string // of files and token endpoint, as in settings
	settings *config_util.HTTPClientConfig
	client   *http.Client // of settings; nil: not built yet
}

func newPlain(entry *config.RemoteWriteConfig) *plainEntry {
	p := &plainEntry{entry: entry}
	if o := entry.HTTPClientConfig.OAuth2; o != nil {
		p.tokens = newTokens(o, entry, &p.secrets)
	}
	return p
}

// now returns the settings of this moment: the same ones as long as files and token say
// the same. It returns when ctx ends; an error is that of a file or of the token
// endpoint.
func (p *plainEntry) now(ctx context.Context) (*config_util.HTTPClientConfig, error) {
	f := filling{read: func(path string) (string, error) { return p.secrets.Fetch(ctx, path) }}
	settings := f.fill(p.entry.HTTPClientConfig)
	if f.err == nil && p.tokens != nil {
		settings.OAuth2 = nil
		settings.Authorization, f.err = p.tokens.get(ctx)
		if f.err == nil {
			f.contents = append(f.contents, settings.Authorization.Type, string(settings.Authorization.Credentials))
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	p.mtx.Lock()
	defer p.mtx.Unlock()
	if p.settings == nil || !slices.Equal(f.contents, p.contents) {
		p.settings, p.contents, p.client = &settings, f.contents, nil
	}
	return p.settings, nil
}

// clientNow returns a client of the settings of this moment.
func (p *plainEntry) clientNow(ctx context.Context) (*http.Client, error) {
	if _, err := p.now(ctx); err != nil {
		return nil, err
	}
	p.mtx.Lock()
	defer p.mtx.Unlock()
	if p.client == nil {
		own := *p.entry
		own.HTTPClientConfig = *p.settings
		built, err := newClient(&own)
		if err != nil {
			return nil, err
		}
		p.client = built
	}
	return p.client, nil
}

// filling puts what files say in their places. What is not the same in secrets only
// would be another queue for upstream, which tells them apart by all but secrets: so a
// user's name becomes part of one.
type filling struct {
	read     func(path string) (string, error)
	contents []string // in the order of reading
	err      error    // the first
}

// of returns what is in a file; nothing, where none is named.
func (f *filling) of(what, path string) string {
	if path == "" || f.err != nil {
		return ""
	}
	content, err := f.read(path)
	if err != nil {
		f.err = fmt.Errorf("unable to read %s: %w", what, err)
	}
	f.contents = append(f.contents, content)
	return content
}

// certificate is of, for what must not be empty: without it, upstream would trust
// everybody whom the system trusts, or show no certificate.
func (f *filling) certificate(what, inline, path string) string {
	if path == "" {
		return inline
	}
	content := f.of(what, path)
	if content == "" && f.err == nil {
		f.err = fmt.Errorf("unable to use %s: file %s is empty", what, path)
	}
	return content
}

// fill returns c with contents instead of files; c is not changed.
func (f *filling) fill(c config_util.HTTPClientConfig) config_util.HTTPClientConfig {
	if c.BearerTokenFile != "" {
		c.BearerToken, c.BearerTokenFile = config_util.Secret(f.of("bearer token", c.BearerTokenFile)), ""
	}
	if a := c.Authorization; a != nil && a.CredentialsFile != "" {
		credentials := config_util.Secret(f.of("authorization credentials", a.CredentialsFile))
		c.Authorization = &config_util.Authorization{Type: a.Type, Credentials: credentials}
	}
	if b := c.BasicAuth; b != nil && (b.UsernameFile != "" || b.PasswordFile != "") {
		user := b.Username + f.of("basic auth username", b.UsernameFile)
		password := string(b.Password) + f.of("basic auth password", b.PasswordFile)
		c.BasicAuth = nil
		c.Authorization = &config_util.Authorization{
			Type: "Basic", Credentials: config_util.Secret(base64.StdEncoding.EncodeToString([]byte(user + ":" + password))),
		}
	}
	if c.HTTPHeaders != nil {
		c.HTTPHeaders = f.headers(c.HTTPHeaders)
	}
	t := &c.TLSConfig
	t.CA, t.CAFile = f.certificate("CA cert", t.CA, t.CAFile), ""
	t.Cert, t.CertFile = f.certificate("client cert", t.Cert, t.CertFile), ""
	t.Key, t.KeyFile = config_util.Secret(f.certificate("client key", string(t.Key), t.KeyFile)), ""
	return c
}

func (f *filling) headers(c *config_util.Headers) *config_util.Headers {
	own := &config_util.Headers{Headers: maps.Clone(c.Headers)}
	for _, name := range slices.Sorted(maps.Keys(own.Headers)) {
		h := own.Headers[name]
		h.Secrets = slices.Clone(h.Secrets)
		for _, path := range h.Files {
			h.Secrets = append(h.Secrets, config_util.Secret(f.of("headers file", path)))
		}
		h.Files = nil
		own.Headers[name] = h
	}
	return own
}

// Plain returns the entry's settings with what its files say now, and with a token from
// its token endpoint, in their place: the same ones as long as these say the same. A
// client of them reads no files, and asks nobody but the endpoint (but for SigV4, Azure
// AD and Google IAM, which have clients of their own). It returns when ctx ends. An
// error is that of a file or of the token endpoint: nothing can be sent at this moment.
func (e *Endpoint) Plain(ctx context.Context) (*config_util.HTTPClientConfig, error) {
	return e.plain.now(ctx)
}

// PlainClient returns a client of Plain settings, with the same errors.
func (e *Endpoint) PlainClient(ctx context.Context) (*http.Client, error) {
	return e.plain.clientNow(ctx)
}
