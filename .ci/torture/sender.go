package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// sender is another agent, which scrapes targets of its own and sends to the one that is
// judged: a device behind a hub.
type sender struct {
	*process

	dir    string
	url    string
	link   *agenttest.Link // to the agent
	disk   *disk
	noDisk string // why there is none
}

// newSender makes everything but does not start it.
func (w *world) newSender(s schedule, address string) (*sender, error) {
	from := &sender{dir: filepath.Join(w.dir, "sender"), noDisk: "nothing needs a disk"}
	if err := os.Mkdir(from.dir, 0o750); err != nil {
		return nil, err
	}
	var err error
	if from.link, err = agenttest.NewLink(strings.TrimPrefix(w.url, "http://")); err != nil {
		return nil, err
	}
	if has(s, ofSenderDisk) {
		if from.disk, err = mountDisk(from.storage()); err != nil {
			from.noDisk = err.Error()
		} else {
			from.noDisk = ""
		}
	}
	from.url = "http://" + address
	from.process = newProcess("the sender", w.program.path, from.dir, from.storage(), address)
	return from, w.configureSender(from, true)
}

func (s *sender) storage() string { return filepath.Join(s.dir, "data") }

// configureSender writes the sender's file.
func (w *world) configureSender(from *sender, scraping bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, `global: {scrape_interval: %s, scrape_timeout: %[1]s, scrape_native_histograms: true}
remote_write:
  - name: agent
    url: http://%s/api/v1/write
    send_native_histograms: true
    send_exemplars: true
    remote_timeout: %s
    queue_config: {batch_send_deadline: 1s, min_backoff: 100ms, max_backoff: 1s, max_samples_per_send: 200, capacity: 2500}
    metadata_config: {send: false}
scrape_configs:
`, scrapeInterval, from.link.Addr(), remoteTimeout)
	for _, t := range w.scraped {
		if t.sent && scraping {
			b.WriteString(w.job(t, scrapeInterval))
		}
	}
	if !scraping {
		b.WriteString("  []\n")
	}
	return replace(configIn(from.dir), b.String())
}

// stopScraping has the sender send what it has, and no more.
func (w *world) stopScraping(from *sender) error {
	if err := w.configureSender(from, false); err != nil {
		return err
	}
	return from.signal(syscall.SIGHUP)
}

// seen is what the sender says of what it sends; it is nil while it cannot be asked.
func (s *sender) seen(ctx context.Context) *seen {
	if pid, _ := s.running(); pid == 0 {
		return nil
	}
	if all, err := askDelivery(ctx, s.url); err == nil && len(all) == 1 {
		return &all[0]
	}
	return nil
}

func (s *sender) close() {
	s.process.close()
	s.link.Close()
	if s.disk != nil {
		s.disk.close()
	}
}
