package agent_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestStopWithHangingCollector: the marks are written before the last traces are sent, and
// a collector that does not answer neither keeps the agent from stopping nor passes for a
// disk that is slow.
func TestStopWithHangingCollector(t *testing.T) {
	// Spans are sent at the stop only.
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000") // milliseconds
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2048")
	r := newRig(t, agenttest.Manners{})
	type sight struct {
		marks string
		disk  bool
	}
	sights := make(chan sight, 100)
	over := make(chan struct{})
	started := make(chan *agent.Agent, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		a := <-started
		started <- a
		marks, err := os.ReadFile(filepath.Join(r.options.StoragePath, "delivery.json"))
		sights <- sight{fmt.Sprintf("%s%v", marks, err), a.AwaitsDisk()}
		<-over
	}))
	t.Cleanup(collector.Close)
	t.Cleanup(func() { close(over) })
	r.jobs = fmt.Sprintf("tracing: {endpoint: '%s', client_type: http, insecure: true, sampling_fraction: 1}\n", collector.Listener.Addr())
	r.targets.Add("one", agenttest.TargetOptions{})
	a, stop := r.inProcess(agent.Options{})
	started <- a
	r.eventually("something to be delivered", func() error {
		if s := a.Status(); len(s.Destinations) == 0 || s.Destinations[0].Ledger.Delivered == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	stop()
	select {
	case s := <-sights:
		if !strings.Contains(s.marks, `"clean":true`) {
			t.Errorf("traces are sent before the marks of a clean end are on the disk: %s", s.marks)
		}
		if s.disk {
			t.Error("it says that it waits for the disk")
		}
	case <-time.After(hung):
		t.Error("no traces are sent")
	}
}
