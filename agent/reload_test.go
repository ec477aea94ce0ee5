package agent_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// TestReloadDuringOutage: whatever a reload changes, those that stay lose nothing.
func TestReloadDuringOutage(t *testing.T) {
	t.Parallel()
	changes := map[string]func(r *rig){
		"external labels": func(r *rig) { r.global = "  external_labels: {site: b}" },
		"queue settings": func(r *rig) {
			r.writes = strings.Replace(r.writes, "max_samples_per_send: 500", "max_samples_per_send: 300", 1)
		},
		"write relabelling": func(r *rig) {
			r.writes += "    write_relabel_configs: [{target_label: added, replacement: yes}]\n"
		},
		"rename": func(r *rig) { r.writes = strings.Replace(r.writes, "name: one", "name: renamed", 1) },
		"added": func(r *rig) {
			other, err := agenttest.NewEndpoint(agenttest.Options{})
			if err != nil {
				r.t.Fatal(err)
			}
			r.t.Cleanup(other.Close)
			r.writes += r.write("two", other, "")
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			one := r.targets.Add("one", agenttest.TargetOptions{Series: 20})
			r.start()
			r.awaitState("one", delivery.Live)
			r.awaitScrapes(one, 5)
			r.outage(func() {
				r.awaitScrapes(one, 5)
				change(r)
				begun := time.Now()
				if err := r.reload(); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); took > hung {
					t.Errorf("the reload took %s", took)
				}
				r.awaitScrapes(one, 5)
			})
			r.awaitScrapes(one, 5)
			r.awaitAll(r.endpoint, one)
		})
	}
}

// TestFiveDead: a dead endpoint does not delay a healthy one, and five do not
// delay a reload or a stop.
func TestFiveDead(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 20})
	var dead []*agenttest.Endpoint
	for i := range 5 {
		e, err := agenttest.NewEndpoint(agenttest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.Close)
		dead = append(dead, e)
		r.writes += r.write(fmt.Sprintf("dead%d", i), e, "")
	}
	r.start()
	for i := range dead {
		r.awaitState(fmt.Sprintf("dead%d", i), delivery.Live)
	}
	r.awaitState("one", delivery.Live)
	for _, e := range dead {
		if err := e.Down(); err != nil {
			t.Fatal(err)
		}
	}
	r.awaitScrapes(one, 5)
	r.global = "  external_labels: {site: b}"
	begun := time.Now()
	if err := r.reload(); err != nil { // while all five are live and failing
		t.Fatal(err)
	}
	if took := time.Since(begun); took > hung {
		t.Errorf("the reload took %s", took)
	}
	for i := range dead {
		r.awaitState(fmt.Sprintf("dead%d", i), delivery.Behind)
	}
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 20)
	r.stop()
	r.start()
	for _, e := range dead {
		if err := e.Up(); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range append(dead, r.endpoint) {
		r.awaitAll(e, one)
	}
}

// TestBadReload: a configuration that cannot work leaves the old one running whole.
func TestBadReload(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 5})
	r.start()
	r.awaitState("one", delivery.Live)
	good := r.writes
	absent := filepath.Join(t.TempDir(), "ca.pem")
	r.writes = strings.Replace(good, "insecure_skip_verify: true", "ca_file: "+absent, 1)
	if err := r.reload(); err == nil || !strings.Contains(err.Error(), absent) {
		t.Errorf("the reload said %v", err)
	}
	r.awaitScrapes(one, 10)
	r.awaitAll(r.endpoint, one)
	if s := r.destination("one"); s.State != delivery.Live {
		t.Errorf("the destination is %s", s.State)
	}
}
