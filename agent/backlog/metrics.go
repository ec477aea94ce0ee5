package backlog

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	reg prometheus.Registerer
	all []prometheus.Collector

	bytes, walBytes, totalBytes, maxBytes prometheus.Gauge
	freeBytes, minFreeBytes               prometheus.Gauge
	generations, segments, refusing       prometheus.Gauge
	evicted, evictedBytes                 prometheus.Counter
	damaged, damagedBytes                 prometheus.Counter
	rescues, rescuedBytes                 prometheus.Counter
	syncs, syncFailures                   prometheus.Counter
	syncDuration                          prometheus.Summary
}

const namespace = "opstrace_agent_backlog"

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{reg: reg}
	m.bytes = m.gauge("bytes", "Size of what is kept below backlog/, in bytes, including what wal/ holds under another name.")
	m.walBytes = m.gauge("wal_bytes", "Size of wal/, in bytes.")
	m.totalBytes = m.gauge("total_bytes", "Size of wal/ and backlog/ together, in bytes, every file counted once.")
	m.maxBytes = m.gauge("max_bytes", "What wal/ and backlog/ may take together, in bytes.")
	m.freeBytes = m.gauge("free_bytes", "Free space of the file system, in bytes.")
	m.minFreeBytes = m.gauge("min_free_bytes", "Free space of the file system below which the oldest data are evicted, in bytes.")
	m.generations = m.gauge("generations", "Number of runs of which data are kept, the running one included.")
	m.segments = m.gauge("segments", "Number of segments kept.")
	m.refusing = m.gauge("refusing", "1 while appends are refused because the budget is used up and nothing is left to evict, else 0.")
	m.evicted = m.counter("evicted_segments_total", "Segments deleted because of the budget before every destination had them.")
	m.evictedBytes = m.counter("evicted_bytes_total", "Size of the segments deleted because of the budget, in bytes.")
	m.damaged = m.counter("damaged_segments_total", "Segments and checkpoints found damaged.")
	m.damagedBytes = m.counter("damaged_bytes_total", "Bytes that could not be read because of damage.")
	m.rescues = m.counter("rescues_total", "Times that series records were copied from segments about to be deleted.")
	m.rescuedBytes = m.counter("rescued_bytes_total", "Bytes written to keep series records of deleted segments.")
	m.syncs = m.counter("syncs_total", "Syncs of the segment being written.")
	m.syncFailures = m.counter("sync_failures_total", "Syncs that failed.")
	m.syncDuration = prometheus.NewSummary(prometheus.SummaryOpts{
		Name:       namespace + "_sync_duration_seconds",
		Help:       "How long a sync of the segment being written took, in seconds.",
		Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001},
	})
	m.all = append(m.all, m.syncDuration)
	if reg != nil {
		reg.MustRegister(m.all...)
	}
	return m
}

func (m *metrics) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: namespace + "_" + name, Help: help})
	m.all = append(m.all, g)
	return g
}

func (m *metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: namespace + "_" + name, Help: help})
	m.all = append(m.all, c)
	return c
}

func (m *metrics) unregister() {
	if m.reg == nil {
		return
	}
	for _, c := range m.all {
		m.reg.Unregister(c)
	}
}
