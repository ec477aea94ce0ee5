package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// elsewhere is a server under another name of this host, which notes what it is asked.
func elsewhere(t *testing.T) (url string, asked func() []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skipf("no second address on loopback: %v", err)
	}
	var mtx sync.Mutex
	var requests []string
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mtx.Lock()
		defer mtx.Unlock()
		requests = append(requests, fmt.Sprintf("%s %s %v", r.Method, r.URL, r.Header))
		w.Header().Set("Content-Type", "text/plain")
		if strings.HasPrefix(r.URL.Path, "/sd") {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, "[]")
		}
	})}}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		mtx.Lock()
		defer mtx.Unlock()
		return append([]string(nil), requests...)
	}
}

// TestRedirectsCarryNoSecret: whoever is asked with a secret, and sends the agent to
// another host, does not send the secret there: neither a destination nor a target nor a
// discovery, however the secret is given.
func TestRedirectsCarryNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "pl4nted"
	other, asked := elsewhere(t)
	var mtx sync.Mutex
	came := map[string]bool{} // with its secret, by path
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		password := false
		if _, p, ok := r.BasicAuth(); ok {
			password = p == secret
		}
		mtx.Lock()
		came[r.URL.Path] = came[r.URL.Path] || password || strings.Contains(fmt.Sprint(r.URL, r.Header), secret)
		mtx.Unlock()
		code := http.StatusPermanentRedirect
		if r.Method == http.MethodGet {
			code = http.StatusFound
		}
		http.Redirect(w, r, other+r.URL.Path, code)
	}))
	defer first.Close()

	dir := t.TempDir()
	token := write(t, filepath.Join(dir, "token"), secret)
	credentials := map[string]string{
		"token":    "authorization: {credentials_file: " + token + "}",
		"password": "basic_auth: {username: u, password: " + secret + "}",
		"cookie":   "http_headers: {Cookie: {secrets: [" + secret + "]}}",
		"header":   "http_headers: {X-Api-Key: {secrets: [" + secret + "]}}",
		"file":     "http_headers: {X-Api-Key: {files: [" + token + "]}}",
	}
	jobs := fmt.Sprintf("- {job_name: params, metrics_path: /params, params: {api_key: [%s]}, static_configs: [{targets: [%q]}]}\n", secret, first.Listener.Addr()) +
		fmt.Sprintf("- {job_name: sd-url, http_sd_configs: [{url: '%s/sd-url?token=%s'}]}\n", first.URL, secret)
	paths := []string{"/params", "/sd-url", "/push-header"}
	writes := fmt.Sprintf("- {name: push-header, url: '%s/push-header', headers: {X-Api-Key: %s}, queue_config: {batch_send_deadline: 100ms}, follow_redirects: true}\n", first.URL, secret)
	for name, c := range credentials {
		jobs += fmt.Sprintf("- {job_name: %s, metrics_path: /%s, %s, static_configs: [{targets: [%q]}]}\n", name, name, c, first.Listener.Addr())
		jobs += fmt.Sprintf("- {job_name: sd-%s, http_sd_configs: [{url: '%s/sd-%s', %s}]}\n", name, first.URL, name, c)
		paths = append(paths, "/"+name, "/sd-"+name)
		if !strings.HasPrefix(c, "http_headers") {
			writes += fmt.Sprintf("- {name: push-%s, url: '%s/push-%s', queue_config: {batch_send_deadline: 100ms}, follow_redirects: true, %s}\n", name, first.URL, name, c)
			paths = append(paths, "/push-"+name)
		}
	}
	file := write(t, filepath.Join(dir, "c.yml"), "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\nscrape_configs:\n"+jobs+"remote_write:\n"+writes)
	// It asks as the agent does.
	if stdout, stderr, code := runCommand(t, dir, "check", "targets", file); code != exitFailed || strings.Contains(stdout+stderr, secret) {
		t.Errorf("check targets: %d\n%s%s", code, stdout, stderr)
	}
	if !strings.Contains(strings.Join(asked(), "\n"), "GET /token ") {
		t.Error("the check followed no redirect: it shows nothing")
	}
	r := start(t, nil, "--config.file="+file, "--storage.agent.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0", "--scrape.discovery-reload-interval=1s")
	r.eventually("everybody is asked with the secret", func() bool {
		mtx.Lock()
		defer mtx.Unlock()
		for _, path := range paths {
			if !came[path] {
				return false
			}
		}
		return true
	})
	// Those that may follow have followed, so that this shows something.
	r.eventually("the redirects are followed", func() bool {
		all := strings.Join(asked(), "\n")
		return strings.Contains(all, "GET /token ") && strings.Contains(all, "GET /password ") && strings.Contains(all, "GET /sd-token ")
	})
	for _, request := range asked() {
		if strings.Contains(request, secret) || strings.Contains(request, "Authorization") || strings.Contains(request, "/push-") {
			t.Errorf("elsewhere: %s", request)
		}
	}
}
