package delivery

import (
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// tooFarAhead is the reason of samples that a scrape leaves out because of their time.
const tooFarAhead = "too_far_ahead"

// ahead counts samples dated more than ten minutes ahead. A scrape drops them in front
// of the storage that it is given, and tells a counter only (scrape:
// timeLimitAppenderV2). tsdb/agent refuses none for being out of bounds, so that this
// counter has no others.
type ahead struct {
	counter prometheus.Counter // nil: nothing is scraped

	mtx  sync.Mutex
	seen uint64
}

// CountAhead makes samples that a scrape leaves out because they are dated too far ahead
// a term of the ledger. reg is where the scrape manager, which must not run yet, has
// registered its metrics; an error says that it has not.
func (d *Delivery) CountAhead(reg prometheus.Registerer) error {
	err := reg.Register(prometheus.NewCounter(prometheus.CounterOpts{
		Name: "prometheus_target_scrapes_sample_out_of_bounds_total",
		Help: "Total number of samples rejected due to timestamp falling outside of the time bounds.",
	}))
	known, _ := errors.AsType[prometheus.AlreadyRegisteredError](err)
	counter, ok := known.ExistingCollector.(prometheus.Counter)
	if !ok {
		return fmt.Errorf("upstream does not count samples that are dated too far ahead: %w", err)
	}
	d.intake.ahead.counter = counter
	return nil
}

// enter counts those that have come since the last time.
func (a *ahead) enter(book *ledger.Book) {
	if a.counter == nil {
		return
	}
	a.mtx.Lock()
	defer a.mtx.Unlock()
	var m dto.Metric
	if err := a.counter.Write(&m); err != nil {
		return
	}
	now := uint64(m.GetCounter().GetValue())
	if now > a.seen {
		book.Reject(tooFarAhead, now-a.seen)
	}
	a.seen = now
}
