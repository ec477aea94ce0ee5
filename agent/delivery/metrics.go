package delivery

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("opstrace_agent_delivery_"+name, help, append([]string{"destination"}, labels...), nil)
}

var (
	descState       = desc("state", "1 for the state that the destination is in, 0 for the others.", "state")
	descPending     = desc("backlog_samples", "Samples on disk that the destination has not acknowledged.")
	descBytes       = desc("backlog_bytes", "Bytes of the WAL behind the destination's mark.")
	descOldest      = desc("oldest_unsent_age_seconds", "Age of the oldest sample that the destination has not acknowledged; 0 when there is none.")
	descRate        = desc("catch_up_samples_per_second", "Samples a second that are shipped from the backlog; 0 when live.")
	descLastSuccess = desc("last_success_timestamp_seconds", "When the endpoint last acknowledged; 0 when never in this run.")
	descAppended    = desc("appended_samples_total", "Samples (floats and native histograms) appended to the WAL since the destination came into being.")
	descNot         = desc("not_appended_samples_total", "Samples refused before the WAL because the disk was full.")
	descRejected    = desc("rejected_samples_total", "Samples that the agent's own storage did not take, such as those out of order, by reason.", "reason")
	descDelivered   = desc("delivered_samples_total", "Samples that the endpoint acknowledged or already had.")
	descRefused     = desc("refused_samples_total", "Samples that the endpoint refused for good, by reason.", "reason")
	descFiltered    = desc("filtered_samples_total", "Samples that the configuration keeps from the destination, by reason.", "reason")
	descUncertain   = desc("uncertain_samples_total", "Samples of which the endpoint's answer does not tell what became of them, by reason.", "reason")
	descEvicted     = desc("evicted_samples_total", "Samples deleted unsent to keep the storage budget.")
	descLost        = desc("lost_samples_total", "Samples that were appended and not found on disk when it was read: a power cut, a damaged or a removed file.")
	descDamaged     = desc("damaged_bytes_total", "Bytes of the WAL that could not be read.")
	descStretches   = desc("lost_stretches_total", "Stretches of the WAL that were damaged or missing.")

	descKept      = desc("kept_samples", "Samples on disk that are kept for a destination that is gone from the configuration.")
	descForgotten = prometheus.NewDesc("opstrace_agent_delivery_forgotten_samples_total", "Samples dropped with a destination that was gone from the configuration for too long, or as an operator asked for.", nil, nil)
)

var (
	descSeriesMax = prometheus.NewDesc("opstrace_agent_limits_max_series", "Series above which new ones are dropped; 0 when there is no such limit.", nil, nil)
	descMemory    = prometheus.NewDesc("opstrace_agent_limits_memory_seconds_total", "How long something was done because the memory was nearly used up, by the last stage that was reached.", []string{"stage"}, nil)
	descStage     = prometheus.NewDesc("opstrace_agent_limits_memory_stage", "1 for the stage that the use of memory has reached, 0 for the others.", []string{"stage"}, nil)
	descDropped   = prometheus.NewDesc("opstrace_agent_limits_dropped_samples_total", "Samples of series that were dropped because of a limit, by reason.", []string{"reason"}, nil)
	descWorst     = prometheus.NewDesc("opstrace_agent_limits_worst_targets_dropped_samples", "Samples dropped of the targets of which most are being dropped, by reason.", []string{"reason", "target_job", "target_instance"}, nil)
)

// collector exports the destinations' states and ledgers, and what is dropped
// before it reaches them.
type collector struct {
	status    func() []Status
	limits    func() LimitsStatus
	kept      func() []Kept
	forgotten func() uint64
}

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descState, descPending, descBytes, descOldest, descRate, descLastSuccess,
		descAppended, descNot, descRejected, descDelivered, descRefused, descFiltered, descUncertain, descEvicted, descLost, descDamaged, descStretches,
		descSeriesMax, descMemory, descStage, descDropped, descWorst,
		descKept, descForgotten,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	c.collectLimits(ch)
	ch <- prometheus.MustNewConstMetric(descForgotten, prometheus.CounterValue, float64(c.forgotten()))
	for _, k := range c.kept() {
		ch <- prometheus.MustNewConstMetric(descKept, prometheus.GaugeValue, float64(k.BacklogSamples), k.Name)
	}
	for _, s := range c.status() {
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{s.Name}, labels...)...)
		}
		counter := func(d *prometheus.Desc, v uint64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{s.Name}, labels...)...)
		}
		for _, state := range []State{Behind, HandingOver, Live} {
			v := 0.0
			if s.State == state {
				v = 1
			}
			gauge(descState, v, string(state))
		}
		age := 0.0
		if s.OldestUnsent != nil {
			age = max(0, time.Since(*s.OldestUnsent).Seconds())
		}
		success := 0.0
		if s.LastSuccess != nil {
			success = float64(s.LastSuccess.UnixMilli()) / 1000
		}
		gauge(descPending, float64(s.BacklogSamples))
		gauge(descBytes, float64(s.BacklogBytes))
		gauge(descOldest, age)
		gauge(descRate, s.CatchUpRate)
		gauge(descLastSuccess, success)
		l := s.Ledger
		counter(descAppended, l.Appended)
		counter(descNot, l.NotAppended)
		counter(descDelivered, l.Delivered)
		counter(descEvicted, l.Evicted)
		counter(descLost, l.Lost)
		counter(descDamaged, l.DamagedBytes)
		counter(descStretches, l.LostStretches)
		for d, m := range map[*prometheus.Desc]map[string]uint64{descRefused: l.Refused, descFiltered: l.Filtered, descUncertain: l.Uncertain, descRejected: l.Rejected} {
			for reason, n := range m {
				counter(d, n, reason)
			}
		}
	}
}

func (c collector) collectLimits(ch chan<- prometheus.Metric) {
	l := c.limits()
	ch <- prometheus.MustNewConstMetric(descSeriesMax, prometheus.GaugeValue, float64(l.MaxSeries))
	for stage, seconds := range l.MemorySeconds {
		ch <- prometheus.MustNewConstMetric(descMemory, prometheus.CounterValue, seconds, stage)
	}
	for _, stage := range stages {
		reached := 0.0
		if stage.name == l.Memory {
			reached = 1
		}
		ch <- prometheus.MustNewConstMetric(descStage, prometheus.GaugeValue, reached, stage.name)
	}
	for reason, n := range l.Dropped {
		ch <- prometheus.MustNewConstMetric(descDropped, prometheus.CounterValue, float64(n), reason)
	}
	for reason, worst := range l.Worst {
		for _, o := range worst {
			ch <- prometheus.MustNewConstMetric(descWorst, prometheus.GaugeValue, float64(o.Dropped), reason, o.Job, o.Instance)
		}
	}
}
