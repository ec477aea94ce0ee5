package hostmetrics

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/node_exporter/collector"
)

// patience is how long a collector may take. It leaves some of Prometheus' default
// scrape_timeout of 10 s, so that what the other collectors have is still served.
const patience = 5 * time.Second

// guard is a collector that answers in time, whatever the one in it does: a read of a pipe or
// of a dead mount may never return, and a panic would end the agent.
type guard struct {
	collector collector.Collector
	most      int // updates under way at most: each that hangs keeps a thread

	mtx      sync.Mutex
	underWay int
	last     *update // nil: it has returned
}

// update is one of the guarded collector. What it has is read when it has returned.
type update struct {
	began    time.Time
	returned chan struct{} // closed
	metrics  []prometheus.Metric
	err      error
}

// guards are those of all collectors by name, under configure: node_exporter keeps collectors
// for the whole process, so an Open that did not know what hangs would let one more hang.
var guards = map[string]*guard{}

// guarded puts guards in the place of collectors. Locks: configure.
func guarded(collectors map[string]collector.Collector) {
	for name, c := range collectors {
		if guards[name] == nil {
			guards[name] = &guard{collector: c, most: mostUpdates(name)}
		}
		collectors[name] = guards[name]
	}
}

// mostUpdates returns how many updates of a collector may be under way. That of filesystem
// hangs at some dead mounts, and leaves them out the next time: with one update only, the
// mounts that are not dead would have no metrics either.
func mostUpdates(name string) int {
	if name == "filesystem" {
		return 8
	}
	return 1
}

// Update implements collector.Collector.
func (g *guard) Update(ch chan<- prometheus.Metric) error {
	u := g.current()
	left := patience - time.Since(u.began)
	if left <= 0 {
		return fmt.Errorf("still has not answered since %s", u.began.Format(time.RFC3339))
	}
	select {
	case <-u.returned:
	case <-time.After(left):
		return fmt.Errorf("has not answered within %s", patience)
	}
	for _, m := range u.metrics {
		ch <- m
	}
	return u.err // as it is: node_exporter compares it
}

// current returns the update under way, or else begins one.
func (g *guard) current() *update {
	g.mtx.Lock()
	defer g.mtx.Unlock()
	if g.last != nil && (time.Since(g.last.began) < patience || g.underWay >= g.most) {
		return g.last
	}
	g.last = &update{began: time.Now(), returned: make(chan struct{})}
	g.underWay++
	go g.run(g.last)
	return g.last
}

// run collects into u. The scrape's own channel is closed when a late metric arrives.
func (g *guard) run(u *update) {
	metrics, end := make(chan prometheus.Metric), make(chan error, 1)
	go func() { end <- recovered(g.collector, metrics) }()
	for {
		select {
		case m := <-metrics:
			u.metrics = append(u.metrics, m)
			continue
		case u.err = <-end: // all metrics have been received, as their channel has no buffer
		}
		break
	}
	g.mtx.Lock()
	defer g.mtx.Unlock()
	close(u.returned)
	g.underWay--
	if g.last == u {
		g.last = nil
	}
}

// recovered updates c, with a panic as an error.
func recovered(c collector.Collector, ch chan<- prometheus.Metric) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return c.Update(ch)
}
