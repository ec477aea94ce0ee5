package receive

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	samples  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "opstrace_agent_receive_requests_total",
			Help: "Number of requests with samples that programs have sent, by protocol and by what became of them.",
		}, []string{"protocol", "result"}),
		samples: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "opstrace_agent_receive_samples_total",
			Help: "Number of samples that were taken from requests.",
		}, []string{"protocol"}),
	}
	for _, protocol := range []string{"remote_write", "otlp"} {
		m.requests.WithLabelValues(protocol, "taken")
		m.samples.WithLabelValues(protocol)
	}
	for _, c := range []prometheus.Collector{m.requests, m.samples} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
