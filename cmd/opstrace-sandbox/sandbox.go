package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// The files in --dir. The address file is written last, and is there as long as
// the sandbox runs.
const (
	addressFile = "sandbox.json"
	tokenFile   = "tenant-api-token-default"
	caFile      = "ca.pem"
	scrapeFile  = "scrape_configs.yml"
)

// addresses are the content of the address file.
type addresses struct {
	PID      int    `json:"pid"`
	Push     string `json:"push_url"`
	PlainURL string `json:"plain_url"` // answers 308, unless push_url is http itself
	Control  string `json:"control_url"`
	SD       string `json:"http_sd_url"` // for http_sd_configs
	Token    string `json:"token_file"`
	CA       string `json:"ca_file,omitempty"`
	Scrape   string `json:"scrape_config_file"` // for scrape_config_files
}

type sandbox struct {
	options  options
	endpoint *agenttest.Endpoint
	targets  *agenttest.Targets
	control  *http.Server
	listener net.Listener
	served   chan struct{}
}

func newSandbox(o options) (*sandbox, error) {
	s := &sandbox{options: o, served: make(chan struct{})}
	o.endpoint.Tokens = map[string]string{agenttest.DefaultTenant: o.token}
	if o.keep == "scrapes" {
		o.endpoint.Keep = func(ls labels.Labels) bool { return ls.Get(model.MetricNameLabel) == agenttest.ScrapesMetric }
	}
	var err error
	if s.options.dir, err = filepath.Abs(o.dir); err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", o.dir, err)
	}
	if s.endpoint, err = agenttest.NewEndpoint(o.endpoint); err != nil {
		return nil, err
	}
	if s.targets, err = agenttest.NewTargets(o.targetsAddr); err != nil {
		s.endpoint.Close()
		return nil, err
	}
	for i := range o.targets {
		s.targets.Add(fmt.Sprintf("t%d", i), o.target)
	}
	if s.listener, err = net.Listen("tcp", o.controlAddr); err != nil {
		s.endpoint.Close()
		s.targets.Close()
		return nil, fmt.Errorf("cannot serve the control API: %w", err)
	}
	s.control = &http.Server{Handler: s.handler()}
	go func() {
		defer close(s.served)
		_ = s.control.Serve(s.listener)
	}()
	return s, nil
}

func (s *sandbox) close() {
	_ = s.control.Close()
	<-s.served
	s.targets.Close()
	s.endpoint.Close()
}

func (s *sandbox) controlURL() string { return "http://" + s.listener.Addr().String() + "/control" }

func (s *sandbox) path(name string) string { return filepath.Join(s.options.dir, name) }

func (s *sandbox) writeFiles() error {
	if err := os.MkdirAll(s.options.dir, 0o750); err != nil {
		return fmt.Errorf("cannot write files: %w", err)
	}
	a := addresses{
		PID: os.Getpid(), Push: s.endpoint.URL(), PlainURL: s.endpoint.PlainURL(), Control: s.controlURL(),
		SD: "http://" + s.targets.Addr() + "/sd", Token: s.path(tokenFile), Scrape: s.path(scrapeFile),
	}
	if ca := s.endpoint.CA(); ca != nil {
		a.CA = s.path(caFile)
		if err := replaceFile(a.CA, ca, 0o640); err != nil {
			return err
		}
	}
	if err := s.writeToken(s.options.token); err != nil {
		return err
	}
	scrape := "scrape_configs:\n" + s.targets.ScrapeConfig("sandbox", s.options.interval)
	if err := replaceFile(a.Scrape, []byte(scrape), 0o640); err != nil {
		return err
	}
	content, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", addressFile, err)
	}
	return replaceFile(s.path(addressFile), append(content, '\n'), 0o640)
}

func (s *sandbox) writeToken(token string) error {
	return replaceFile(s.path(tokenFile), []byte(token+"\n"), 0o600)
}

// removeAddresses takes away the file that leads to a sandbox which is gone.
// The others stay: an agent may still be reading them.
func (s *sandbox) removeAddresses() { _ = os.Remove(s.path(addressFile)) }

// replaceFile never shows a reader half a file.
func replaceFile(path string, content []byte, mode os.FileMode) error {
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, content, mode); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(fmt.Errorf("cannot write %s: %w", path, err), os.Remove(temporary))
	}
	return nil
}

// report prints what arrived, every now and then, until ctx ends.
func (s *sandbox) report(ctx context.Context, stdout io.Writer) {
	var tick <-chan time.Time
	if s.options.reportInterval > 0 {
		ticker := time.NewTicker(s.options.reportInterval)
		defer ticker.Stop()
		tick = ticker.C
	}
	last, at := int64(0), time.Now()
	for {
		select {
		case <-ctx.Done():
			fmt.Fprintf(stdout, "in all    %s\n", s.endpoint.Snapshot())
			return
		case <-tick:
		}
		snap, now := s.endpoint.Snapshot(), time.Now()
		missing, refused := 0, int64(0)
		for _, t := range s.targets.List() {
			missing += len(snap.Scrapes(t, "", time.Time{}).Gaps())
		}
		for _, n := range snap.Refused {
			refused += n
		}
		acknowledged := snap.Acknowledged()
		fmt.Fprintf(stdout, "%s  acknowledged %d samples (%.0f/s) in %d series, refused %d (%d already there), silently lost %d, missing scrapes %d\n",
			now.Format(time.TimeOnly), acknowledged, float64(acknowledged-last)/now.Sub(at).Seconds(),
			snap.StoredSeries, refused, snap.AlreadyThere, snap.SilentlyLost, missing)
		last, at = acknowledged, now
	}
}
