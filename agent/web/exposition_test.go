package web

import (
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/prometheus/config"
)

// expositionTargets are one that wants a token, and others that misbehave.
func expositionTargets(t *testing.T, elsewhere string, entered chan<- struct{}, hang <-chan struct{}) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer s3cret" || r.URL.Query().Get("auth_token") != "s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "a{accept=%q,timeout=%q} 1\n", r.Header.Get("Accept"), r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"))
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, strings.Repeat("b 1\n", maxExposition/4)+"b 2\n")
	})
	mux.Handle("/moved", http.RedirectHandler(elsewhere+"/?k=s3cret", http.StatusFound))
	mux.HandleFunc("/packed", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		fmt.Fprintln(z, "c 1")
		z.Close()
	})
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprintln(w, "d 1")
	})
	mux.HandleFunc("/evil", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintln(w, "<script>alert(1)</script>")
	})
	mux.HandleFunc("/hanging", func(w http.ResponseWriter, r *http.Request) {
		if !isScrape(r) {
			entered <- struct{}{}
		}
		select {
		case <-hang:
			fmt.Fprintln(w, "e 1")
		case <-r.Context().Done():
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// isScrape reports whether a target is asked by the scrape loop.
func isScrape(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "*/*") }

func expositionAgent(t *testing.T, entered chan<- struct{}, hang <-chan struct{}) (o Options, elsewhere *atomic.Int32) {
	t.Helper()
	elsewhere = &atomic.Int32{}
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if !isScrape(r) { // which may follow
			elsewhere.Add(1)
		}
	}))
	t.Cleanup(other.Close)
	addr := expositionTargets(t, other.URL, entered, hang)
	var jobs strings.Builder
	for _, path := range []string{"large", "packed", "broken", "evil", "hanging", "moved"} {
		fmt.Fprintf(&jobs, "- {job_name: %s, metrics_path: /%[1]s, bearer_token: s3cret, static_configs: [{targets: [%q]}]}\n", path, addr)
	}
	cfg := fmt.Sprintf(`
global: {scrape_interval: 1h, scrape_timeout: 30s} # hardly any scrape but those that are asked for
scrape_configs:
- job_name: token
  bearer_token: s3cret
  params: {auth_token: [s3cret]}
  static_configs: [{targets: [%q, "dropped:1"]}]
  relabel_configs: [{source_labels: [__address__], regex: "dropped:.*", action: drop}]
- job_name: down
  static_configs: [{targets: ["127.0.0.1:1"]}]
%s`, addr, jobs.String())
	return Options{Agent: startAgent(t, cfg)}, elsewhere
}

// targetIDs waits for the targets of all jobs, and returns their IDs by job.
func targetIDs(t *testing.T, o Options, jobs int) map[string]string {
	t.Helper()
	ids := map[string]string{}
	eventually(t, "the targets are there", func() bool {
		for pool, targets := range o.Agent.ScrapeManager().TargetsActive() {
			for _, target := range targets {
				ids[pool] = targetID(pool, target)
			}
		}
		return len(ids) == jobs
	})
	return ids
}

// What a target answers is shown with its credentials, as text, up to a limit, and
// nobody else gets them.
func TestExposition(t *testing.T) {
	entered, hang := make(chan struct{}, 1), make(chan struct{})
	o, elsewhere := expositionAgent(t, entered, hang)
	s := serve(t, o)
	base := "http://" + s.Addrs()[0].String()
	ids := targetIDs(t, o, 8)
	ask := func(job string) (int, string) {
		t.Helper()
		code, body, header := request{url: base + "/exposition?target=" + ids[job]}.do(t)
		if header.Get("Content-Type") != "text/plain; charset=utf-8" || header.Get("X-Content-Type-Options") != "nosniff" || strings.Contains(body, "s3cret") {
			t.Errorf("%s: %v %.200q", job, header, body)
		}
		return code, body
	}
	for job, want := range map[string]string{
		"token":  `(?s)^# http://[0-9.:]+/metrics\?auth_token=xxxxx answered just now: HTTP 200 OK, "text/plain; version=0.0.4"\na\{accept=".*text/plain;version=0.0.4;q=0\.\d,text/plain;q=0.1",timeout="30"\} 1\n\n# These are \d+ bytes.\n$`,
		"large":  fmt.Sprintf(`(?s)\nb 1\n.*b 1\n\n# Cut here, after %d bytes.\n$`, maxExposition),
		"moved":  `answered just now: HTTP 302 Found, "text/html; charset=utf-8", a redirect to "http://[0-9.:]+/\?k=xxxxx" that is not followed here\n$`,
		"packed": `\n# The body is not shown: it is encoded \("gzip"\), which was not asked for.\n$`,
		"broken": `(?s)\nd 1\n.*\n# The rest is missing, after 4 bytes: unexpected EOF\n$`,
		"evil":   `\n<script>`,
	} {
		if code, body := ask(job); code != 200 || !regexp.MustCompile(want).MatchString(body) {
			t.Errorf("%s: %d %.300s … %s", job, code, body, body[max(0, len(body)-100):])
		}
	}
	if elsewhere.Load() > 0 {
		t.Error("the redirect was followed")
	}
	if code, body := ask("down"); code != http.StatusBadGateway || !strings.HasPrefix(body, `Get "http://127.0.0.1:1/metrics": `) {
		t.Errorf("down: %d %s", code, body)
	}
	if code, body, _ := (request{url: base + "/exposition?target=none"}).do(t); code != 404 {
		t.Errorf("unknown: %d %s", code, body)
	}
	for pool, targets := range o.Agent.ScrapeManager().TargetsDropped() {
		for _, target := range targets {
			if code, body, _ := (request{url: base + "/exposition?target=" + targetID(pool, target)}).do(t); code != 404 {
				t.Errorf("dropped: %d %s", code, body)
			}
		}
	}

	// While one is asked, no other is.
	first := make(chan string)
	go func() {
		_, body, _ := request{url: base + "/exposition?target=" + ids["hanging"]}.do(t)
		first <- body
	}()
	<-entered
	if code, body := ask("token"); code != http.StatusTooManyRequests {
		t.Errorf("a second one: %d %s", code, body)
	}
	close(hang)
	if body := <-first; !strings.Contains(body, "\ne 1\n") {
		t.Errorf("hanging: %s", body)
	}
	if code, _ := ask("token"); code != 200 {
		t.Errorf("after it: %d", code)
	}
}

// The agent asks a target for those only who might ask it themselves.
func TestExpositionIsGuarded(t *testing.T) {
	hang := make(chan struct{})
	close(hang)
	o, _ := expositionAgent(t, nil, hang)
	id := targetIDs(t, o, 8)["token"]
	local := "http://" + serve(t, o).Addrs()[0].String()

	users := filepath.Join(t.TempDir(), "web.yml")
	// The password is test.
	if err := os.WriteFile(users, []byte("basic_auth_users: {op: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.ListenAddresses = []string{"0.0.0.0:0"}
	open := serve(t, o)
	o.ConfigFile = users
	closed := serve(t, o)
	address := func(s *Server) string {
		return "http://127.0.0.1" + strings.TrimPrefix(s.Addrs()[0].String(), "[::]")
	}
	for name, tc := range map[string]struct {
		base string
		request
		want int
	}{
		"loopback":                     {local, request{}, 200},
		"typed into the browser":       {local, request{header: http.Header{"Sec-Fetch-Site": {"none"}}}, 200},
		"a link on the page":           {local, request{header: http.Header{"Sec-Fetch-Site": {"same-origin"}}}, 200},
		"another site":                 {local, request{header: http.Header{"Sec-Fetch-Site": {"cross-site"}}}, 403},
		"a name that points here":      {local, request{host: "rebound.example.org"}, 403},
		"POST":                         {local, request{method: http.MethodPost}, 405},
		"all addresses, for everybody": {address(open), request{}, 403},
		"all addresses, with a user":   {address(closed), request{header: http.Header{"Authorization": {"Basic b3A6dGVzdA=="}}}, 200},
		"without the user":             {address(closed), request{}, 401},
	} {
		tc.url = tc.base + "/exposition?target=" + id
		code, body, _ := tc.do(t)
		if code != tc.want || tc.want != 200 && strings.Contains(body, "a{") {
			t.Errorf("%s: %d instead of %d: %s", name, code, tc.want, body)
		}
		// The page offers it to the same, if they see the page at all.
		tc.url = tc.base + "/?target=" + id
		if code, body, _ := tc.do(t); code == 200 && tc.header.Get("Sec-Fetch-Site") != "cross-site" && strings.Contains(body, `href="exposition?target=`+id+`"`) != (tc.want == 200) {
			t.Errorf("%s: the page is wrong about it", name)
		}
	}
}

func TestAuthenticates(t *testing.T) {
	dir := t.TempDir()
	for content, want := range map[string]bool{
		"": false, "basic_auth_users: {a: b}": true, "basic_auth_users: {}": false, "no: [": false,
		"tls_server_config: {cert_file: c, key_file: k}":                                               false,
		"tls_server_config: {cert_file: c, key_file: k, client_auth_type: RequireAnyClientCert}":       false,
		"tls_server_config: {cert_file: c, key_file: k, client_auth_type: VerifyClientCertIfGiven}":    false,
		"tls_server_config: {cert_file: c, key_file: k, client_auth_type: RequireAndVerifyClientCert}": true,
	} {
		file := filepath.Join(dir, "web.yml")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := authenticates(file); got != want {
			t.Errorf("%s: %v", content, got)
		}
	}
	if authenticates("") || authenticates(filepath.Join(dir, "none")) {
		t.Error("without a file")
	}
}

func TestAcceptText(t *testing.T) {
	got := acceptText([]config.ScrapeProtocol{config.PrometheusProto, config.OpenMetricsText1_0_0, config.PrometheusText0_0_4})
	if want := "application/openmetrics-text;version=1.0.0;q=0.9,text/plain;version=0.0.4;q=0.8,text/plain;q=0.1"; got != want {
		t.Errorf("%s instead of %s", got, want)
	}
}

// The page says how many samples and bytes each target has, as it was scraped last.
func TestSizesOfTargets(t *testing.T) {
	var gone atomic.Bool
	body := "a 1\nb 1\n# " + strings.Repeat("x", 2545) + "\nc 1\n"
	if len(body) != 2560 {
		t.Fatal(len(body))
	}
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gone.Load() {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Encoding", "gzip") // what counts is what it is read as
		z := gzip.NewWriter(w)
		fmt.Fprint(z, body)
		z.Close()
	}))
	defer target.Close()
	o := Options{Agent: startAgent(t, fmt.Sprintf("scrape_configs: [{job_name: a, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{targets: [%q]}]}]", strings.TrimPrefix(target.URL, "http://")))}
	s := serve(t, o)
	page := "http://" + s.Addrs()[0].String() + "/"
	shows := func(samples, bytes string) func() bool {
		cells := regexp.MustCompile(`data-name="samples"[^>]*>` + samples + `</td>\s*<td class="number" data-name="bytes"[^>]*>` + bytes + `</td>`)
		return func() bool {
			_, body, _ := request{url: page}.do(t)
			return cells.MatchString(body)
		}
	}
	// Beside them: up, scrape_duration_seconds and three scrape_samples_* or scrape_series_added.
	eventually(t, "the row has them", shows("8", "2.5 KiB"))
	id := targetIDs(t, o, 1)["a"]
	_, detail, _ := request{url: page + "?target=" + id}.do(t)
	for _, want := range []string{"<dt>Samples of the last scrape</dt><dd>8</dd>", "<dt>Bytes of the last answer</dt><dd>2.5 KiB</dd>"} {
		if !strings.Contains(detail, want) {
			t.Errorf("the target's own section has no %s", want)
		}
	}
	gone.Store(true)
	eventually(t, "there was no answer", shows("[58]", "–")) // once with the three that have ended
}
