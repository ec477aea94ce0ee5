package hostmetrics

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/node_exporter/collector"
)

// TestPipe: a pipe in the textfile directory costs the other collectors nothing, and one
// update however often there is a scrape or the exporter is opened again. When somebody has
// written to it, the collector is heard again.
func TestPipe(t *testing.T) {
	pipe := filepath.Join(textfiles, "x.prom")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	release := sync.OnceValue(func() error {
		f, err := os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		err = errors.Join(err, os.Remove(pipe)) // or else the next update hangs, too
		f.Close()
		return err
	})
	t.Cleanup(func() { release() })

	var goroutines int
	for i, words := range []string{"has not answered within 5s", "still has not answered since "} {
		var log bytes.Buffer
		e := openTest(t, &log)
		scrape := scraper(t, e)
		for range 3 {
			body := scrape()
			for _, want := range []string{"\nnode_load1 ", "\nnode_cpu_seconds_total{", "\n" + success("cpu", 1), "\n" + success("textfile", 0)} {
				if !strings.Contains(body, want) {
					t.Errorf("%s is missing: %s", want, log.String())
				}
			}
			if goroutines == 0 {
				goroutines = runtime.NumGoroutine()
			}
		}
		if !strings.Contains(log.String(), words) {
			t.Errorf("it says %s", log.String())
		}
		if i == 1 {
			noMoreThan(t, goroutines)
			if err := release(); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(patience); !strings.Contains(scrape(), success("textfile", 1)); {
				if time.Now().After(end) {
					t.Fatalf("not heard again: %s", log.String())
				}
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func success(name string, is int) string {
	return fmt.Sprintf("node_scrape_collector_success{collector=%q} %d\n", name, is)
}

// noMoreThan waits until there are as few goroutines: those of a scrape or of a connection
// end a little later than it.
func noMoreThan(t *testing.T, most int) {
	t.Helper()
	for end := time.Now().Add(patience); runtime.NumGoroutine() > most; runtime.Gosched() {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines instead of %d: %s", runtime.NumGoroutine(), most, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// collectorFunc is a collector.Collector.
type collectorFunc func(ch chan<- prometheus.Metric) error

func (f collectorFunc) Update(ch chan<- prometheus.Metric) error { return f(ch) }

// putIn returns the guard that a process has for a collector.
func putIn(t *testing.T, name string, f collectorFunc) collector.Collector {
	configure.Lock()
	defer configure.Unlock()
	before := guards
	guards = map[string]*guard{}
	t.Cleanup(func() { guards = before })
	cs := map[string]collector.Collector{name: f}
	guarded(cs)
	return cs[name]
}

// updateOf returns what an update has.
func updateOf(c collector.Collector) (metrics []prometheus.Metric, err error) {
	ch := make(chan prometheus.Metric, 10)
	err = c.Update(ch)
	close(ch) // as node_exporter's is
	for m := range ch {
		metrics = append(metrics, m)
	}
	return metrics, err
}

func gauge(name string) prometheus.Metric {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name})
}

// TestEndedEarly: metrics of a collector that panics or fails are those from before.
func TestEndedEarly(t *testing.T) {
	a, b := gauge("a"), gauge("b")
	none := make([]error, 0)
	for words, end := range map[string]func() error{
		"panic: unknown metric type":                                 func() error { panic("unknown metric type") },
		collector.ErrNoData.Error():                                  func() error { return collector.ErrNoData },
		"panic: runtime error: index out of range [0] with length 0": func() error { return none[0] },
	} {
		c := putIn(t, "any", func(ch chan<- prometheus.Metric) error {
			ch <- a
			ch <- b
			return end()
		})
		for range 2 {
			got, err := updateOf(c)
			if err == nil || err.Error() != words || !slices.Equal(got, []prometheus.Metric{a, b}) {
				t.Errorf("%v, %v instead of %s", got, err, words)
			}
			if words == collector.ErrNoData.Error() && !collector.IsNoDataError(err) {
				t.Errorf("%v is taken for a failure", err)
			}
		}
	}
}

// TestHangs: an update that hangs is the only one; what it has at last belongs to no scrape.
func TestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer, updates := make(chan struct{}), atomic.Int32{}
		a, b := gauge("a"), gauge("b")
		c := putIn(t, "any", func(ch chan<- prometheus.Metric) error {
			if updates.Add(1) == 1 {
				ch <- a
				<-answer
			}
			ch <- b
			return nil
		})
		began := time.Now()
		since := "still has not answered since " + began.Format(time.RFC3339)
		for i, words := range []string{"has not answered within 5s", since, since} {
			got, err := updateOf(c)
			if err == nil || err.Error() != words || len(got) > 0 {
				t.Errorf("%d: %v, %v", i, got, err)
			}
			if took := time.Since(began); took != patience {
				t.Errorf("%d: after %s", i, took)
			}
		}
		if n := updates.Load(); n != 1 {
			t.Errorf("%d updates", n)
		}
		close(answer)
		synctest.Wait()
		if got, err := updateOf(c); err != nil || !slices.Equal(got, []prometheus.Metric{b}) || updates.Load() != 2 {
			t.Errorf("heard again: %v, %v, %d updates", got, err, updates.Load())
		}
	})
}

// TestAtOnce: two scrapes at the same time are answered from one update.
func TestAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		updates, a := atomic.Int32{}, gauge("a")
		c := putIn(t, "any", func(ch chan<- prometheus.Metric) error {
			updates.Add(1)
			time.Sleep(patience / 2)
			ch <- a
			return nil
		})
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if got, err := updateOf(c); err != nil || !slices.Equal(got, []prometheus.Metric{a}) {
					t.Errorf("%v, %v", got, err)
				}
			})
		}
		both.Wait()
		if n := updates.Load(); n != 1 {
			t.Errorf("%d updates", n)
		}
	})
}

// TestDeadMount: the filesystem collector, which leaves out dead mounts when it is asked
// again, is asked again while it hangs: but not without end.
func TestDeadMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer, updates, dead := make(chan struct{}), atomic.Int32{}, atomic.Int32{}
		dead.Store(1)
		c := putIn(t, "filesystem", func(ch chan<- prometheus.Metric) error {
			if updates.Add(1) <= dead.Load() {
				<-answer
			}
			ch <- gauge("a")
			return nil
		})
		if _, err := updateOf(c); err == nil {
			t.Error("the dead mount is told of")
		}
		for range 2 {
			if got, err := updateOf(c); err != nil || len(got) != 1 {
				t.Errorf("the other mounts: %v, %v", got, err)
			}
		}
		dead.Store(100)
		for range 20 {
			if _, err := updateOf(c); err == nil {
				t.Error("a dead mount is told of")
			}
		}
		if n, want := int(updates.Load()), 3+mostUpdates("filesystem")-1; n != want {
			t.Errorf("%d updates instead of %d", n, want)
		}
		close(answer)
	})
}
