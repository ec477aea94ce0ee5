package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/opstrace/opstrace-agent/agent/limits"
)

// Reasons for which a series is not taken.
const (
	reasonMaxSeries = "max_series"
	reasonMemory    = "memory"
	reasonTooLong   = limits.TooLong
	reasonTooMany   = limits.TooMany
)

// newcomers judges series that a scrape shows for the first time. One that exists
// is never refused, so that whoever comes first, and behaves, keeps flowing.
type newcomers struct {
	limits limits.Limits
	series func() uint64 // that the WAL's storage holds
	known  storage.ExemplarAppenderV2
	drops  *drops
	memory *memory

	// mtx is held from looking at the number of series until the new one counts,
	// or two targets at once would both get the last place. Only memory is
	// touched meanwhile.
	mtx sync.Mutex
}

// refusal is the error of a sample whose series is not taken. Upstream's scrape
// loop goes on with the others after a duplicate, does not remember the series,
// which would take memory for nothing, and commits the target's report although
// a part of it was refused. No other error does all of this.
type refusal struct{ reason string }

func (r *refusal) Error() string { return "series refused: " + r.reason }

// Is makes upstream take a refusal for a duplicate.
func (*refusal) Is(target error) bool { return target == storage.ErrDuplicateSampleForTimestamp }

// refuse returns the reason for which a series must not come into being; "" when
// it may, or is there already. scraped is how many samples the same scrape has
// brought already. reported is for the series in which the scrape loop
// itself tells how a target is: there are a handful per target, and without them
// nobody would see what is wrong with it.
func (n *newcomers) refuse(ls labels.Labels, scraped uint64, reported bool) string {
	if reason := n.limits.Refuse(ls); reason != "" {
		return reason
	}
	reason := ""
	small := limits.SmallTarget(n.limits.MaxSeries)
	switch {
	case reported:
		return ""
	case n.limits.MaxSeries > 0 && n.series() >= limits.Ceiling(n.limits.MaxSeries, scraped < small):
		reason = reasonMaxSeries
	case n.memory.now() >= ShedSeries && scraped >= min(small, limits.AnyHost):
		reason = reasonMemory
	default:
		return ""
	}
	if n.refOf(ls) != 0 {
		return ""
	}
	return reason
}

// refOf returns the reference of a series in the WAL's storage; 0: it has none.
func (n *newcomers) refOf(ls labels.Labels) storage.SeriesRef {
	// Without exemplars this only looks.
	ref, err := n.known.AppendExemplars(0, ls, nil)
	if err != nil {
		return 0
	}
	return ref
}

// dropped counts the rejected samples of a scrape that were refused here.
func (n *newcomers) dropped(rejected map[string]uint64, target targetName) {
	for _, reason := range []string{reasonMaxSeries, reasonMemory, reasonTooLong, reasonTooMany} {
		if count := rejected[reason]; count > 0 {
			n.drops.add(reason, target, count, time.Now())
		}
	}
}

// isReport reports whether a sample is the scrape loop's own. Upstream marks their
// family so, because no target can expose it.
func isReport(o storage.AppendV2Options) bool { return strings.HasSuffix(o.MetricFamilyName, "\xff") }

// meet makes the WAL's storage known. It fails when upstream is not what is
// relied on.
func (n *newcomers) meet(db storage.Storage, reg prometheus.Registerer) error {
	var err error
	if n.series, err = activeSeries(reg); err != nil {
		return err
	}
	// It is never committed, and takes nothing.
	known, ok := db.AppenderV2(context.Background()).(storage.ExemplarAppenderV2)
	if !ok {
		return errors.New("the WAL's storage cannot be asked for a series")
	}
	n.known = known
	return nil
}

// activeSeries returns the number of series that upstream's WAL storage holds,
// which has registered with reg. It fails when upstream does not count them under
// the name that is expected.
func activeSeries(reg prometheus.Registerer) (func() uint64, error) {
	// Only who registers the same metric is told what is registered.
	same := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "prometheus_agent_active_series",
		Help: "Number of active series being tracked by the WAL storage",
	})
	err := reg.Register(same)
	there, ok := errors.AsType[prometheus.AlreadyRegisteredError](err)
	if !ok {
		return nil, fmt.Errorf("the WAL's storage does not count its series as expected (%v)", err)
	}
	gauge, ok := there.ExistingCollector.(prometheus.Gauge)
	if !ok {
		return nil, errors.New("the number of series is not a gauge")
	}
	return func() uint64 {
		var m dto.Metric
		if err := gauge.Write(&m); err != nil {
			return 0
		}
		return uint64(max(0, m.GetGauge().GetValue()))
	}, nil
}
