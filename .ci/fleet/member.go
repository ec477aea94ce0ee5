package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// member is one agent of the fleet, with a target and a directory of its own.
type member struct {
	name   string
	target *agenttest.Target
	agent  *agent.Agent
	config string // without jobs
	job    string

	stop func() error // ends it, and returns how it ended
	done chan struct{}
	live time.Time // when it was seen live first after the outage

	apart bool // it was behind before the outage
}

// The defaults of Prometheus, but for what tests make shorter. A name has to be the
// agent's own: by it, and the URL, a process knows its queues.
const configuration = `global:
  scrape_interval: %[1]dms
  scrape_timeout: %[1]dms
  external_labels: {host: %[2]s}
remote_write:
  - name: %[2]s
    url: %[3]s
    authorization: {credentials: %[4]s}
    queue_config: {batch_send_deadline: %[5]dms%[6]s}
    metadata_config: {send: false}
`

const jobConfiguration = `scrape_configs:
  - job_name: fleet
    static_configs:
      - targets: ['%s']
        labels: {__metrics_path__: /t/%s/metrics}
`

// start begins an agent that scrapes a new target. Its stop must be called.
func (f *fleet) start(name string) (*member, error) {
	o := f.options
	m := &member{
		name:   name,
		target: f.targets.Add(name, agenttest.TargetOptions{Series: o.series - 1}),
		config: fmt.Sprintf(configuration, o.interval.Milliseconds(), name, f.endpoint.URL(), agenttest.DefaultToken, o.batchDeadline.Milliseconds(), o.queue),
		job:    fmt.Sprintf(jobConfiguration, f.targets.Addr(), name),
		done:   make(chan struct{}),
	}
	cfg, err := m.load(m.job)
	if err != nil {
		return nil, err
	}
	m.agent, err = agent.New(agent.Options{
		StoragePath:  filepath.Join(f.dir, name),
		SyncInterval: 30 * time.Second,
		MaxLiveLag:   o.maxLiveLag,
		MinStay:      o.minStay,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var how error
	go func() {
		defer close(m.done)
		how = m.agent.Run(ctx, cfg)
	}()
	m.stop = sync.OnceValue(func() error {
		cancel()
		<-m.done
		if how != nil {
			return fmt.Errorf("%s: %w", name, how)
		}
		return nil
	})
	return m, nil
}

func (m *member) load(job string) (*config.Config, error) {
	return config.Load(m.config+job, slog.New(slog.DiscardHandler))
}

// stopScraping leaves the agent nothing but what it has to deliver.
func (m *member) stopScraping() error {
	cfg, err := m.load("")
	if err != nil {
		return err
	}
	return m.agent.Apply(cfg)
}

func (m *member) status() delivery.Status {
	if d := m.agent.Status().Destinations; len(d) == 1 {
		return d[0]
	}
	return delivery.Status{}
}

func (m *member) isLive() bool { return m.status().State == delivery.Live }

// settled reports whether nothing waits any more, and the ledger adds up.
func (m *member) settled() bool {
	l := m.status().Ledger
	return l.Appended > 0 && l.OnDisk == 0 && l.Appended == l.Sum()
}
