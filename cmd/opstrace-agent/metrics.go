package main

import (
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	dto "github.com/prometheus/client_model/go"
)

// processMetrics are those of the process; the agent has its own.
type processMetrics struct {
	registry      *prometheus.Registry
	reloadSuccess prometheus.Gauge
	reloadTime    prometheus.Gauge
}

func newProcessMetrics() *processMetrics {
	m := &processMetrics{
		registry: prometheus.NewRegistry(),
		reloadSuccess: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "opstrace_agent_config_last_reload_successful",
			Help: "Whether the last configuration reload attempt was successful.",
		}),
		reloadTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "opstrace_agent_config_last_reload_success_timestamp_seconds",
			Help: "Timestamp of the last successful configuration reload.",
		}),
	}
	// Prometheus' selection of runtime metrics, so that its dashboards work.
	// The default registry has a smaller one, which would collide.
	prometheus.Unregister(collectors.NewGoCollector())
	m.registry.MustRegister(
		versioncollector.NewCollector("opstrace_agent"),
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(
			collectors.MetricsGC,
			collectors.MetricsScheduler,
			collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/sync/mutex/wait/total:seconds$`)},
		)),
		m.reloadSuccess,
		m.reloadTime,
	)
	if _, err := writtenBytes(); err == nil {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "opstrace_agent_written_bytes_total",
			Help: "Bytes that the process has had written to disks, in whole pages, as the kernel counts them.",
		}, func() float64 {
			n, _ := writtenBytes() // it could be read before
			return n
		}))
	}
	return m
}

// writtenBytes is how much the process has had written to file systems that lie on
// disks. What these write besides, such as a journal, is not in it.
func writtenBytes() (float64, error) {
	content, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(content), "\nwrite_bytes: ")
	if !found {
		return 0, errors.New("/proc/self/io has no write_bytes")
	}
	number, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseFloat(number, 64)
}

// reloaded records the outcome of a reload, the first load included.
func (m *processMetrics) reloaded(err error) {
	if err != nil {
		m.reloadSuccess.Set(0)
		return
	}
	m.reloadSuccess.Set(1)
	m.reloadTime.SetToCurrentTime()
}

// gatherer is everything there is: of the process, of the agent, and what
// upstream registers on the default registry whatever registry it is given.
func (p *process) gatherer() prometheus.Gatherer {
	current := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		return p.agent.Gatherer().Gather()
	})
	return prometheus.Gatherers{p.metrics.registry, prometheus.DefaultGatherer, current}
}
