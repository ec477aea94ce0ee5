package delivery

import (
	"errors"
	"fmt"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// Prepared is a configuration whose remote_write entries have been checked and
// whose clients have been built, where that can be done. Nothing is touched until
// Delivery.Apply.
type Prepared struct {
	endpoints []*remotewrite.Endpoint
	external  labels.Labels
	unusable  error
	// Notices are things that an operator should know about the configuration.
	Notices []string
}

// Unusable returns what keeps clients from being built: files that are missing,
// mostly. Nil: nothing. A destination without a client is there, and what it has to
// get is kept, until it can be built.
func (p *Prepared) Unusable() error { return p.unusable }

// Prepare builds the client of every destination in cfg. It changes nothing. An
// error is that of an entry that will never work.
func Prepare(cfg *config.Config) (*Prepared, error) {
	p := &Prepared{external: cfg.GlobalConfig.ExternalLabels}
	seen := map[string]bool{}
	for i, rw := range cfg.RemoteWriteConfigs {
		if rw.Name == "" {
			return nil, fmt.Errorf("remote_write entry %d has no name", i)
		}
		if seen[rw.Name] {
			return nil, fmt.Errorf("remote_write name %q is used twice", rw.Name)
		}
		seen[rw.Name] = true
		e, notices, err := remotewrite.NewEndpoint(rw, p.external)
		if err != nil {
			return nil, fmt.Errorf("remote_write %q: %w", rw.Name, err)
		}
		if _, err := e.Client(); err != nil {
			p.unusable = errors.Join(p.unusable, fmt.Errorf("remote_write %q: %w", rw.Name, err))
		}
		p.endpoints = append(p.endpoints, e)
		p.Notices = append(p.Notices, notices...)
	}
	return p, nil
}
