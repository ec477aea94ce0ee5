package web

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/alecthomas/units"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/version"
	"github.com/prometheus/prometheus/util/features"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// The types below are Prometheus', like those of the targets.

type scrapePoolsDiscovery struct {
	ScrapePools []string `json:"scrapePools"`
}

type prometheusConfig struct {
	YAML string `json:"yaml"`
}

type prometheusVersion struct {
	Version   string `json:"version"`
	Revision  string `json:"revision"`
	Branch    string `json:"branch"`
	BuildUser string `json:"buildUser"`
	BuildDate string `json:"buildDate"`
	GoVersion string `json:"goVersion"`
}

type runtimeInfo struct {
	StartTime           time.Time `json:"startTime"`
	CWD                 string    `json:"CWD"`
	Hostname            string    `json:"hostname"`
	ServerTime          time.Time `json:"serverTime"`
	ReloadConfigSuccess bool      `json:"reloadConfigSuccess"`
	LastConfigTime      time.Time `json:"lastConfigTime"`
	CorruptionCount     int64     `json:"corruptionCount"`
	GoroutineCount      int       `json:"goroutineCount"`
	GOMAXPROCS          int       `json:"GOMAXPROCS"`
	GOMEMLIMIT          int64     `json:"GOMEMLIMIT"`
	GOGC                string    `json:"GOGC"`
	GODEBUG             string    `json:"GODEBUG"`
	StorageRetention    string    `json:"storageRetention"`
}

// scrapePools answers /api/v1/scrape_pools.
func (s *Server) scrapePools(*http.Request) (any, *apiError) {
	manager := s.opts.Agent.ScrapeManager()
	if manager == nil {
		return nil, errNotReady
	}
	pools := append([]string{}, manager.ScrapePools()...) // empty and never null
	slices.Sort(pools)
	return scrapePoolsDiscovery{pools}, nil
}

// statusConfig answers /api/v1/status/config.
func (s *Server) statusConfig(*http.Request) (any, *apiError) {
	text, err := s.configText()
	if errors.Is(err, errNoConfig) {
		return nil, &apiError{http.StatusServiceUnavailable, "unavailable", err.Error()}
	}
	if err != nil {
		return nil, &apiError{http.StatusInternalServerError, "internal", err.Error()}
	}
	return prometheusConfig{text}, nil
}

var errNoConfig = errors.New("no configuration to show yet")

// configText is the configuration in force without its secrets.
func (s *Server) configText() (string, error) {
	cfg := s.opts.Agent.Config()
	if cfg == nil || s.opts.PrintConfig == nil {
		return "", errNoConfig
	}
	return s.opts.PrintConfig(cfg)
}

// statusFlags answers /api/v1/status/flags.
func (s *Server) statusFlags(*http.Request) (any, *apiError) {
	return s.flags(), nil
}

// flags with what a URL among their values may hide taken out.
func (s *Server) flags() map[string]string {
	flags := make(map[string]string, len(s.opts.Flags))
	for name, value := range s.opts.Flags {
		flags[name] = redact.Text(value)
	}
	return flags
}

// features answers /api/v1/features.
func (s *Server) features(*http.Request) (any, *apiError) {
	all := s.opts.Agent.UpstreamFeatures()
	all[features.API] = map[string]bool{
		"lifecycle": s.opts.EnableLifecycle,
		"admin":     false, "query_cost": false, "search": false, "remote_write_receiver": false, "otlp_write_receiver": false,
	}
	all[features.Prometheus]["auto_reload_config"] = s.opts.Flags["config.auto-reload"] == "true"
	return all, nil
}

// buildInfo answers /api/v1/status/buildinfo.
func (s *Server) buildInfo(*http.Request) (any, *apiError) {
	return prometheusVersion{
		Version:   version.Version,
		Revision:  version.GetRevision(),
		Branch:    version.Branch,
		BuildUser: version.BuildUser,
		BuildDate: version.BuildDate,
		GoVersion: version.GoVersion,
	}, nil
}

// runtimeInfo answers /api/v1/status/runtimeinfo.
func (s *Server) runtimeInfo(*http.Request) (any, *apiError) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, &apiError{http.StatusInternalServerError, "internal", fmt.Sprintf("cannot get the host's name: %s", err)}
	}
	cwd, err := os.Getwd()
	if err != nil {
		cwd = "<error retrieving current working directory>" // as Prometheus has it
	}
	own := s.ownMetrics()
	return runtimeInfo{
		StartTime:           s.born.UTC(),
		CWD:                 cwd,
		Hostname:            hostname,
		ServerTime:          time.Now().UTC(),
		ReloadConfigSuccess: own.reloadSuccess,
		LastConfigTime:      own.reloaded,
		CorruptionCount:     own.corruptions,
		GoroutineCount:      runtime.NumGoroutine(),
		GOMAXPROCS:          runtime.GOMAXPROCS(0),
		GOMEMLIMIT:          debug.SetMemoryLimit(-1),
		GOGC:                os.Getenv("GOGC"),
		GODEBUG:             os.Getenv("GODEBUG"),
		StorageRetention:    units.Base2Bytes(s.opts.Agent.Status().Storage.MaxBytes).String(),
	}, nil
}

// ownMetrics is what the page and the API take from the agent's own metrics.
type ownMetrics struct {
	reloadSuccess bool
	reloaded      time.Time // the last good load of the configuration
	corruptions   int64
	residentBytes int64
	cpuSeconds    float64
}

// ownMetrics are read as far as they can be: one broken collector hides only
// its own.
func (s *Server) ownMetrics() (own ownMetrics) {
	families, _ := s.opts.Gatherer.Gather()
	for _, f := range families {
		if len(f.GetMetric()) != 1 {
			continue
		}
		v := value(f.GetMetric()[0])
		switch f.GetName() {
		case "opstrace_agent_config_last_reload_successful":
			own.reloadSuccess = v != 0
		case "opstrace_agent_config_last_reload_success_timestamp_seconds":
			own.reloaded = time.Unix(int64(v), 0).UTC()
		case "prometheus_agent_corruptions_total":
			own.corruptions = int64(v)
		case "process_resident_memory_bytes":
			own.residentBytes = int64(v)
		case "process_cpu_seconds_total":
			own.cpuSeconds = v
		}
	}
	return own
}

func value(m *dto.Metric) float64 {
	if m.Gauge != nil {
		return m.Gauge.GetValue()
	}
	return m.GetCounter().GetValue()
}
