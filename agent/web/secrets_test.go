package web_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/redact"
	"github.com/opstrace/opstrace-agent/agent/web"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// planted is a configuration with a secret of its own in every field that can
// hold one: PLANTED-<field>. Nothing answers at its addresses, so that every
// error that can name them is met. KEY and CERT stand for PEM.
const planted = `
global: {scrape_interval: 100ms, scrape_timeout: 100ms}
opstrace:
- {cluster: c.invalid, tenant: block-auth, authorization: {credentials: PLANTED-block-credentials}, proxy_url: "http://u:PLANTED-block-proxy@127.0.0.1:1"}
- {cluster: c.invalid, tenant: block-headers, headers: {X-Token: PLANTED-block-header}, proxy_url: "http://127.0.0.1:1"}
tracing:
  endpoint: 127.0.0.1:1
  insecure: true
  headers: {x-token: PLANTED-tracing-header}
scrape_configs:
- job_name: basic
  basic_auth: {username: u, password: PLANTED-scrape-password}
  static_configs: [{targets: ["127.0.0.1:1"]}]
- job_name: authorization
  authorization: {credentials: PLANTED-scrape-credentials}
  params: {auth_token: [PLANTED-scrape-param], module: [plain]}
  static_configs: [{targets: ["127.0.0.1:1", "dropped:1"]}]
  relabel_configs: [{source_labels: [__address__], regex: "dropped:.*", action: drop}]
- job_name: bearer
  bearer_token: PLANTED-scrape-bearer
  static_configs: [{targets: ["127.0.0.1:1"]}]
- job_name: oauth2
  oauth2: {client_id: c, client_secret: PLANTED-scrape-oauth2, token_url: "http://u:PLANTED-scrape-token-url@127.0.0.1:1/?k=PLANTED-token-query", endpoint_params: {x: PLANTED-scrape-endpoint-param}}
  static_configs: [{targets: ["127.0.0.1:1"]}]
- job_name: headers
  http_headers: {X-A: {values: [PLANTED-scrape-header]}, X-B: {secrets: [PLANTED-scrape-secret-header]}}
  proxy_url: "http://u:PLANTED-scrape-proxy@127.0.0.1:1"
  proxy_connect_header: {Proxy-Authorization: [PLANTED-scrape-connect-header]}
  static_configs: [{targets: ["127.0.0.1:1"]}]
- job_name: tls
  scheme: https
  tls_config: {cert: CERT, key: KEY}
  static_configs: [{targets: ["127.0.0.1:1"]}]
- job_name: discovery
  http_sd_configs:
  - {url: "http://u:PLANTED-sd-url@127.0.0.1:1/?token=PLANTED-sd-query", basic_auth: {username: u, password: PLANTED-sd-password}, refresh_interval: 100ms}
remote_write:
- {name: url, url: "http://u:PLANTED-write-url@127.0.0.1:1/push?token=PLANTED-write-query"}
- {name: basic, url: "http://127.0.0.1:1/push", basic_auth: {username: u, password: PLANTED-write-password}, headers: {X-Key: PLANTED-write-header}}
- {name: bearer, url: "http://127.0.0.1:1/push", bearer_token: PLANTED-write-bearer, http_headers: {X-B: {secrets: [PLANTED-write-secret-header]}}}
- {name: oauth2, url: "http://127.0.0.1:1/push", oauth2: {client_id: c, client_secret: PLANTED-write-oauth2, token_url: "http://127.0.0.1:1/", endpoint_params: {x: PLANTED-write-endpoint-param}}}
- {name: tls, url: "https://127.0.0.1:1/push", tls_config: {cert: CERT, key: KEY}}
- {name: sigv4, url: "http://127.0.0.1:1/push", sigv4: {region: r, access_key: a, secret_key: PLANTED-write-sigv4}}
`

// applied is not run: its client would ask the cloud.
const applied = `
remote_write:
- name: azure
  url: "http://127.0.0.1:1/push"
  azuread: {cloud: AzurePublic, oauth: {client_id: 00000000-0000-0000-0000-000000000001, tenant_id: 00000000-0000-0000-0000-000000000002, client_secret: PLANTED-write-azure}}
`

// lockedBuffer takes the log of many goroutines.
type lockedBuffer struct {
	mtx sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	return b.buf.String()
}

func TestNoSecretIsShown(t *testing.T) {
	cert, key := pemPair(t)
	logged := &lockedBuffer{}
	logger := redact.Logger(log.NewLogfmtLogger(logged))
	a, err := agent.New(agent.Options{StoragePath: t.TempDir(), Logger: logger, LogLevel: slog.LevelDebug, MaxClockWait: -1, MaxLiveLag: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("CERT", fmt.Sprintf("%q", cert), "KEY", fmt.Sprintf("%q", key)).Replace(planted)
	cfg, err := scrapeconfig.Load([]byte(text), "test.yml", logger)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, cfg) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("agent: %v", err)
		}
	})
	defer stop()
	awaitTrouble(t, a)

	secrets := regexp.MustCompile(`PLANTED-[a-z0-9-]+`).FindAllString(text, -1)
	if len(secrets) < 25 {
		t.Fatalf("only %d secrets", len(secrets))
	}
	// A line in the middle of the key.
	secrets = append(secrets, strings.Split(key, "\n")[1])
	look(t, newServer(t, a, logger), secrets)

	idle, err := agent.New(agent.Options{StoragePath: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := idle.Apply(load(t, applied)); err != nil {
		t.Fatal(err)
	}
	look(t, newServer(t, idle, logger), []string{"PLANTED-write-azure"})

	stop()
	if !strings.Contains(logged.String(), "127.0.0.1:1") {
		t.Error("nothing failed that could have been logged")
	}
	check(t, "the log", logged.String(), secrets)
}

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, err := scrapeconfig.Load([]byte(text), "test.yml", log.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func newServer(t *testing.T, a *agent.Agent, logger log.Logger) *web.Server {
	t.Helper()
	s, err := web.New(web.Options{
		Agent: a, Logger: logger, Gatherer: a.Gatherer(), PrintConfig: scrapeconfig.Print,
		Flags: map[string]string{"web.external-url": "http://u:PLANTED-block-credentials@h/?token=PLANTED-block-header"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// awaitTrouble waits until every target and every destination has failed.
func awaitTrouble(t *testing.T, a *agent.Agent) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		missing := 0
		st := a.Status()
		for _, d := range st.Destinations {
			if d.LastError == "" {
				missing++
			}
		}
		targets := 0
		if m := a.ScrapeManager(); m != nil {
			for _, pool := range m.TargetsActive() {
				for _, target := range pool {
					targets++
					if target.LastError() == nil {
						missing++
					}
				}
			}
		}
		if len(st.Destinations) == 8 && targets == 6 && missing == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d destinations, %d targets, %d without trouble: %+v", len(st.Destinations), targets, missing, st.Destinations)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// look visits every page there is, and every target's explanation.
func look(t *testing.T, s *web.Server, secrets []string) {
	t.Helper()
	paths := []string{
		"/", "/?state=dropped", "/?state=down", "/?q=PLANTED", "/metrics", "/-/ready", "/api/v1/targets", "/api/v1/scrape_pools",
		"/api/v1/status/config", "/api/v1/status/flags", "/api/v1/status/buildinfo", "/api/v1/status/runtimeinfo", "/api/v1/status/delivery",
		"/api/v1/status/self_metrics", "/api/v1/targets/metadata", "/api/v1/metadata", "/api/v1/features",
	}
	explained := regexp.MustCompile(`\?[^"#]*target=[a-z0-9]+`)
	for i := 0; i < len(paths); i++ {
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, paths[i], nil))
		if paths[i] == "/?state=dropped" || paths[i] == "/?state=down" {
			for _, link := range explained.FindAllString(rec.Body.String(), -1) {
				paths = append(paths, "/"+strings.ReplaceAll(link, "&amp;", "&"))
			}
		}
		body := rec.Body.String()
		if paths[i] == "/?q=PLANTED" { // what was asked for is repeated
			body = strings.ReplaceAll(body, "q=PLANTED", "")
		}
		check(t, paths[i], body, secrets)
	}
}

func check(t *testing.T, where, text string, secrets []string) {
	t.Helper()
	for _, secret := range secrets {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("%s shows %s: …%s…", where, secret, text[max(0, i-120):min(len(text), i+len(secret)+20)])
		}
	}
}

func pemPair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
}
