package web

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// The types below are those of Prometheus' web/api/v1, field by field; a test
// holds them against each other. They are not imported: that package brings the
// whole server with it.

type targetDiscovery struct {
	ActiveTargets       []activeTarget  `json:"activeTargets"`
	DroppedTargets      []droppedTarget `json:"droppedTargets"`
	DroppedTargetCounts map[string]int  `json:"droppedTargetCounts"`
}

type activeTarget struct {
	// DiscoveredLabels are the labels before relabelling.
	DiscoveredLabels labels.Labels `json:"discoveredLabels"`
	// Labels are added to every series of the target.
	Labels             labels.Labels       `json:"labels"`
	ScrapePool         string              `json:"scrapePool"`
	ScrapeURL          string              `json:"scrapeUrl"`
	GlobalURL          string              `json:"globalUrl"`
	LastError          string              `json:"lastError"`
	LastScrape         time.Time           `json:"lastScrape"`
	LastScrapeDuration float64             `json:"lastScrapeDuration"` // seconds
	Health             scrape.TargetHealth `json:"health"`
	ScrapeInterval     string              `json:"scrapeInterval"`
	ScrapeTimeout      string              `json:"scrapeTimeout"`
}

type droppedTarget struct {
	DiscoveredLabels labels.Labels `json:"discoveredLabels"`
	ScrapePool       string        `json:"scrapePool"`
}

// targets answers /api/v1/targets?state=active|dropped|any&scrapePool=NAME.
func (s *Server) targets(r *http.Request) (any, *apiError) {
	manager := s.opts.Agent.ScrapeManager()
	if manager == nil {
		return nil, errNotReady
	}
	pool := r.URL.Query().Get("scrapePool")
	wanted := func(p string) bool { return pool == "" || p == pool }
	state := strings.ToLower(r.URL.Query().Get("state"))
	anyState := state == "" || state == "any"

	// Lists are empty and never null, as in Prometheus.
	res := targetDiscovery{ActiveTargets: []activeTarget{}, DroppedTargets: []droppedTarget{}}
	builder := labels.NewBuilder(labels.EmptyLabels())
	if anyState || state == "active" {
		active := manager.TargetsActive()
		for _, p := range slices.Sorted(maps.Keys(active)) {
			if !wanted(p) {
				continue
			}
			for _, t := range active[p] {
				res.ActiveTargets = append(res.ActiveTargets, s.activeTarget(p, t, builder))
			}
		}
	}
	if anyState || state == "dropped" {
		res.DroppedTargetCounts = manager.TargetsDroppedCounts()
		dropped := manager.TargetsDropped()
		for _, p := range slices.Sorted(maps.Keys(dropped)) {
			if !wanted(p) {
				continue
			}
			for _, t := range dropped[p] {
				res.DroppedTargets = append(res.DroppedTargets, droppedTarget{redact.Labels(t.DiscoveredLabels(builder)), p})
			}
		}
	}
	return res, nil
}

func (s *Server) activeTarget(pool string, t *scrape.Target, builder *labels.Builder) activeTarget {
	lastError := targetError(t)
	global, err := s.globalURL(t.URL())
	switch {
	case err == nil:
	case lastError == "":
		lastError = redact.Text(err.Error())
	default:
		lastError = fmt.Sprintf("%s: %s", lastError, redact.Text(err.Error()))
	}
	return activeTarget{
		DiscoveredLabels:   redact.Labels(t.DiscoveredLabels(builder)),
		Labels:             t.Labels(builder),
		ScrapePool:         pool,
		ScrapeURL:          redact.URL(t.URL().String()),
		GlobalURL:          redact.URL(global.String()),
		LastError:          lastError,
		LastScrape:         t.LastScrape(),
		LastScrapeDuration: t.LastScrapeDuration().Seconds(),
		Health:             t.Health(),
		ScrapeInterval:     t.GetValue(model.ScrapeIntervalLabel),
		ScrapeTimeout:      t.GetValue(model.ScrapeTimeoutLabel),
	}
}

// globalURL makes the URL of a target usable from elsewhere: a target on
// localhost is one on the host of the external URL, and the agent's own
// listener is the external URL itself. It changes u and returns it.
func (s *Server) globalURL(u *url.URL) (*url.URL, error) {
	host, port, err := splitHostPort(u.Host)
	if err != nil {
		return u, err
	}
	if host != "localhost" && host != "127.0.0.1" && host != "::1" {
		return u, nil
	}
	external := s.opts.ExternalURL
	var ownPort string
	if len(s.opts.ListenAddresses) > 0 {
		if _, ownPort, err = net.SplitHostPort(s.opts.ListenAddresses[0]); err != nil {
			return u, err
		}
	}
	if port == ownPort {
		u.Scheme, u.Host = external.Scheme, external.Host
		return u, nil
	}
	externalHost, _, err := splitHostPort(external.Host)
	if err != nil {
		return u, err
	}
	u.Host = externalHost
	if port != "" {
		u.Host = net.JoinHostPort(externalHost, port)
	}
	return u, nil
}

// splitHostPort is net.SplitHostPort for hosts that may lack a port.
func splitHostPort(hostport string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(hostport)
	if err != nil && strings.HasSuffix(err.Error(), "missing port in address") {
		if h, _, e := net.SplitHostPort(hostport + ":80"); e == nil {
			return h, "", nil
		}
	}
	return host, port, err
}
