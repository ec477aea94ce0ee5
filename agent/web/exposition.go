package web

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-kit/log/level"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/scrape"
	"go.yaml.in/yaml/v2"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// maxExposition is how much of a target's answer is shown, in bytes.
const maxExposition = 4 << 20

const noExposition = "The answers of targets are not shown here.\n" +
	"hint: ask through a loopback address, or give this address users or client certificates by --web.config.file"

// exposition answers /exposition?target=ID with what a target that is scraped
// answers now. It asks with the target's credentials, so it is only for those who
// might have them: see mayFetch. What comes is shown as text and not stored.
func (s *Server) exposition(w http.ResponseWriter, r *http.Request) {
	if forAnotherSite(r) || !s.mayFetch(r) {
		http.Error(w, noExposition, http.StatusForbidden)
		return
	}
	manager := s.opts.Agent.ScrapeManager()
	if manager == nil {
		http.Error(w, errNotReady.msg, http.StatusServiceUnavailable)
		return
	}
	pool, target := findTarget(manager.TargetsActive(), r.URL.Query().Get("target"))
	if target == nil {
		http.Error(w, "There is no such target, or its labels have changed.", http.StatusNotFound)
		return
	}
	cfg, err := manager.ScrapePoolConfig(pool)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	// One at a time: it costs the target a scrape and the agent memory.
	if !s.fetching.TryLock() {
		http.Error(w, "Another target is being asked; try again.", http.StatusTooManyRequests)
		return
	}
	defer s.fetching.Unlock()
	if err := showExposition(w, r, cfg, s.opts.Agent.ScrapeClient(), target); err != nil {
		level.Debug(s.logger).Log("msg", "Cannot send what a target answers", "err", err)
	}
}

// mayFetch reports whether a request may make the agent ask a target: it came
// through an address that only this host can reach, or had to name a user or to
// have a certificate.
func (s *Server) mayFetch(r *http.Request) bool {
	return fromLoopback(r) || authenticates(s.opts.ConfigFile)
}

// authenticates reports whether a web configuration file lets nobody in without a
// password or a certificate. It is read anew, as it is for each request. A file that
// cannot be read lets in nobody else.
func authenticates(configFile string) bool {
	content, err := os.ReadFile(configFile)
	if err != nil {
		return false
	}
	var c web.Config
	if err := yaml.Unmarshal(content, &c); err != nil {
		return false
	}
	return len(c.Users) > 0 || c.TLSConfig.IsEnabled() && c.TLSConfig.ClientAuth == "RequireAndVerifyClientCert"
}

func findTarget(active map[string][]*scrape.Target, id string) (pool string, _ *scrape.Target) {
	for pool, targets := range active {
		for _, t := range targets {
			if targetID(pool, t) == id {
				return pool, t
			}
		}
	}
	return "", nil
}

// showExposition asks a target once and writes its answer behind a line that says
// what it is. The error is that of the connection to who asked.
func showExposition(w http.ResponseWriter, r *http.Request, cfg *config.ScrapeConfig, options []commonconfig.HTTPClientOption, target *scrape.Target) error {
	fail := func(err error) error {
		http.Error(w, redactError(err.Error(), target.URL()), http.StatusBadGateway)
		return nil
	}
	settings := cfg.HTTPClientConfig
	settings.FollowRedirects = false // its credentials are for this target
	client, err := commonconfig.NewClientFromConfig(settings, cfg.JobName, append(slices.Clone(options), commonconfig.WithKeepAlivesDisabled())...)
	if err != nil {
		return fail(err)
	}
	defer client.CloseIdleConnections()
	timeout := time.Duration(cfg.ScrapeTimeout)
	if own, err := model.ParseDuration(target.GetValue(model.ScrapeTimeoutLabel)); err == nil {
		timeout = time.Duration(own)
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.URL().String(), nil)
	if err != nil {
		return fail(err)
	}
	req.Header.Set("Accept", acceptText(cfg.ScrapeProtocols))
	req.Header.Set("Accept-Encoding", "identity") // nothing that unfolds
	req.Header.Set("User-Agent", scrape.UserAgent)
	req.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(timeout.Seconds(), 'f', -1, 64))
	resp, err := client.Do(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()

	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if _, err := fmt.Fprintf(w, "# %s answered just now: HTTP %s%s\n", redact.URL(target.URL().String()), resp.Status, describeHeader(resp.Header)); err != nil {
		return err
	}
	if resp.StatusCode/100 == 3 {
		return nil // a page about where it leads, secrets included
	}
	if c := resp.Header.Get("Content-Encoding"); c != "" && c != "identity" {
		_, err := fmt.Fprintf(w, "# The body is not shown: it is encoded (%q), which was not asked for.\n", c)
		return err
	}
	limit := int64(maxExposition)
	if l := int64(cfg.BodySizeLimit); l > 0 {
		limit = min(limit, l)
	}
	n, err := io.Copy(w, io.LimitReader(resp.Body, limit))
	end := fmt.Sprintf("# These are %d bytes.", n)
	if err != nil {
		end = fmt.Sprintf("# The rest is missing, after %d bytes: %s", n, redactError(err.Error(), target.URL()))
	} else if more, _ := io.ReadFull(resp.Body, make([]byte, 1)); more > 0 {
		end = fmt.Sprintf("# Cut here, after %d bytes.", n)
	}
	_, err = fmt.Fprintf(w, "\n%s\n", end)
	return err
}

// describeHeader tells of a target's answer what matters for a scrape.
func describeHeader(h http.Header) (text string) {
	if t := h.Get("Content-Type"); t != "" {
		text = fmt.Sprintf(", %q", t)
	}
	if l := h.Get("Location"); l != "" {
		text += fmt.Sprintf(", a redirect to %q that is not followed here", redact.Text(l))
	}
	return text
}

// acceptText is the Accept header for those of the protocols that people can read.
func acceptText(protocols []config.ScrapeProtocol) string {
	var accept []string
	quality := 9
	for _, p := range protocols {
		header := config.ScrapeProtocolsHeaders[p]
		if !strings.Contains(header, "text") || quality < 2 {
			continue
		}
		accept = append(accept, fmt.Sprintf("%s;q=0.%d", header, quality))
		quality--
	}
	return strings.Join(append(accept, "text/plain;q=0.1"), ",")
}
