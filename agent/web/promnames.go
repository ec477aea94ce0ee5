package web

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/version"
)

// What Prometheus' web server has and dashboards and alerts for Prometheus ask for,
// by its names.

// prometheusNames are metrics of ours that Prometheus has under another name.
var prometheusNames = map[string]string{
	"opstrace_agent_config_last_reload_successful":                "prometheus_config_last_reload_successful",
	"opstrace_agent_config_last_reload_success_timestamp_seconds": "prometheus_config_last_reload_success_timestamp_seconds",
}

// withPrometheusNames adds to next what own has, and what next has under a name of
// ours. The metrics of next win.
func withPrometheusNames(next, own prometheus.Gatherer) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := next.Gather()
		more, _ := own.Gather() // cannot fail: see httpMetrics
		taken := make(map[string]bool, len(families))
		for _, f := range families {
			taken[f.GetName()] = true
			if name := prometheusNames[f.GetName()]; name != "" {
				more = append(more, &dto.MetricFamily{Name: &name, Help: f.Help, Type: f.Type, Unit: f.Unit, Metric: f.Metric})
			}
		}
		for _, f := range more {
			if !taken[f.GetName()] {
				families = append(families, f)
			}
		}
		slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
		return families, err
	})
}

// httpMetrics are those of the admin face itself.
type httpMetrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	size     *prometheus.HistogramVec
}

func newHTTPMetrics(ready func() bool) *httpMetrics {
	m := &httpMetrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prometheus_http_requests_total",
			Help: "Counter of HTTP requests.",
		}, []string{"handler", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                            "prometheus_http_request_duration_seconds",
			Help:                            "Histogram of latencies for HTTP requests.",
			Buckets:                         []float64{.1, .2, .4, 1, 3, 8, 20, 60, 120},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"handler"}),
		size: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "prometheus_http_response_size_bytes",
			Help:    "Histogram of response size for HTTP requests.",
			Buckets: prometheus.ExponentialBuckets(100, 10, 8),
		}, []string{"handler"}),
	}
	m.registry.MustRegister(m.requests, m.duration, m.size,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "prometheus_ready",
			Help: "Whether the agent scrapes: what /-/ready says.",
		}, func() float64 {
			if ready() {
				return 1
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "prometheus_build_info",
			Help: "A metric with a constant '1' value labeled by the version of Prometheus that is built in, and by what it was built.",
			ConstLabels: prometheus.Labels{
				"version": prometheusVersionInside(), "goversion": version.GoVersion, "goos": runtime.GOOS, "goarch": runtime.GOARCH, "tags": version.GetTags(),
			},
		}, func() float64 { return 1 }))
	return m
}

// prometheusVersionInside is the release of Prometheus that is built in, as its own
// binaries name it; "unknown" where the binary does not tell.
func prometheusVersionInside() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path != "github.com/prometheus/prometheus" {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		return releaseOf(m.Version)
	}
	return "unknown"
}

// releaseOf a module's version: 3.16.0 of v0.316.0. Another form stays as it is.
func releaseOf(module string) string {
	parts := strings.SplitN(module, ".", 3)
	if len(parts) != 3 || parts[0] != "v0" || len(parts[1]) != 3 {
		return module
	}
	minor, err := strconv.Atoi(parts[1][1:])
	if err != nil {
		return module
	}
	return parts[1][:1] + "." + strconv.Itoa(minor) + "." + parts[2]
}

// instrument counts the requests of a mux by the pattern that they match, so that
// nobody can make new series by asking for new paths.
func (m *httpMetrics) instrument(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		a := &answer{ResponseWriter: w, code: http.StatusOK}
		mux.ServeHTTP(a, r)
		name := handlerName(r.Pattern) // the mux has set it
		if name == "" {
			return
		}
		m.requests.WithLabelValues(name, strconv.Itoa(a.code)).Inc()
		m.duration.WithLabelValues(name).Observe(time.Since(began).Seconds())
		m.size.WithLabelValues(name).Observe(float64(a.bytes))
	})
}

// handlerName is a pattern without its method, as Prometheus writes it.
func handlerName(pattern string) string {
	if _, path, ok := strings.Cut(pattern, " "); ok {
		pattern = path
	}
	return strings.TrimSuffix(pattern, "{$}")
}

// answer notes what a handler answered.
type answer struct {
	http.ResponseWriter

	code  int
	bytes int
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(code int) {
	a.code = code
	a.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	n, err := a.ResponseWriter.Write(b)
	a.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
