package backlog

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
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

// newMetrics registers with reg, which is a fresh one for every store; nil: nowhere.
func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: namespace + "_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: namespace + "_" + name, Help: help})
	}
	return &metrics{
		bytes:        gauge("bytes", "Size of what is kept below backlog/, in bytes, including what wal/ holds under another name."),
		walBytes:     gauge("wal_bytes", "Size of wal/, in bytes."),
		totalBytes:   gauge("total_bytes", "Size of wal/ and backlog/ together, in bytes, every file counted once."),
		maxBytes:     gauge("max_bytes", "What wal/ and backlog/ may take together, in bytes."),
		freeBytes:    gauge("free_bytes", "Free space of the file system, in bytes."),
		minFreeBytes: gauge("min_free_bytes", "Free space of the file system below which the oldest data are evicted, in bytes."),
		generations:  gauge("generations", "Number of runs of which data are kept, the running one included."),
		segments:     gauge("segments", "Number of segments kept."),
		refusing:     gauge("refusing", "1 while appends are refused because the budget is used up and nothing is left to evict, else 0."),
		evicted:      counter("evicted_segments_total", "Segments deleted because of the budget before every destination had them."),
		evictedBytes: counter("evicted_bytes_total", "Size of the segments deleted because of the budget, in bytes."),
		damaged:      counter("damaged_segments_total", "Segments and checkpoints found damaged."),
		damagedBytes: counter("damaged_bytes_total", "Bytes that could not be read because of damage."),
		rescues:      counter("rescues_total", "Times that series records were copied from segments about to be deleted."),
		rescuedBytes: counter("rescued_bytes_total", "Bytes written to keep series records of deleted segments."),
		syncs:        counter("syncs_total", "Syncs of the segment being written."),
		syncFailures: counter("sync_failures_total", "Syncs that failed."),
		syncDuration: f.NewSummary(prometheus.SummaryOpts{
			Name:       namespace + "_sync_duration_seconds",
			Help:       "How long a sync of the segment being written took, in seconds.",
			Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001},
		}),
	}
}
