package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/file"
	"github.com/prometheus/prometheus/discovery/targetgroup"

	"github.com/opstrace/opstrace-agent/agent/pulse"
	"github.com/opstrace/opstrace-agent/agent/regular"
)

// spoiltLook is how often it is looked whether a file of a file discovery is one. What
// is a pipe for less than that may hold the discovery unseen.
const spoiltLook = time.Second

// fileDiscovery is upstream's, as long as each of its files is a regular one. Upstream
// opens a pipe as well, and waits for somebody to write to it: the discovery would
// find nothing any more, for good, since it goes on waiting when the pipe is gone.
type fileDiscovery struct{ *file.SDConfig }

// NewDiscoverer implements discovery.Config.
func (c fileDiscovery) NewDiscoverer(o discovery.DiscovererOptions) (discovery.Discoverer, error) {
	first, err := c.SDConfig.NewDiscoverer(o)
	if err != nil {
		return nil, err
	}
	return &fileDiscoverer{files: c.Files, logger: o.Logger, next: first, anew: func() (discovery.Discoverer, error) {
		return c.SDConfig.NewDiscoverer(o)
	}}, nil
}

type fileDiscoverer struct {
	files  []string // patterns
	logger *slog.Logger
	next   discovery.Discoverer // nil: to be made
	anew   func() (discovery.Discoverer, error)
	found  map[string]bool // sources of what is discovered now
}

// Run implements discovery.Discoverer.
func (d *fileDiscoverer) Run(ctx context.Context, up chan<- []*targetgroup.Group) {
	for ctx.Err() == nil {
		err := regular.CheckMatches(d.files)
		if err == nil {
			err = d.runUntilSpoilt(ctx, up)
		}
		if err == nil {
			return
		}
		d.logger.Error("Cannot read a file of targets; those that were discovered before are scraped on", "err", err)
		for err != nil && pause(ctx, spoiltLook) {
			err = regular.CheckMatches(d.files)
		}
	}
}

// runUntilSpoilt returns nil at the end of ctx, and an error as soon as a file is no
// regular one. Upstream's discovery may be waiting for that: it is left behind then.
func (d *fileDiscoverer) runUntilSpoilt(ctx context.Context, up chan<- []*targetgroup.Group) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	inner := d.next
	if d.next = nil; inner == nil {
		var err error
		if inner, err = d.anew(); err != nil {
			return err
		}
	}
	// A new one does not know what is to be taken back of what the last one found. It
	// finds what is still there at once.
	if before := d.forget(); len(before) > 0 {
		d.pass(ctx, up, before)
	}
	found := make(chan []*targetgroup.Group)
	go inner.Run(ctx, found)
	look := pulse.After(spoiltLook)
	for {
		select {
		case <-ctx.Done():
			return nil
		case groups := <-found:
			d.pass(ctx, up, groups)
		case <-look:
			look = pulse.After(spoiltLook)
			if err := regular.CheckMatches(d.files); err != nil {
				return err
			}
		}
	}
}

// pass sends groups up, and remembers those that have targets.
func (d *fileDiscoverer) pass(ctx context.Context, up chan<- []*targetgroup.Group, groups []*targetgroup.Group) {
	for _, g := range groups {
		if len(g.Targets) == 0 {
			delete(d.found, g.Source)
			continue
		}
		if d.found == nil {
			d.found = map[string]bool{}
		}
		d.found[g.Source] = true
	}
	select {
	case up <- groups:
	case <-ctx.Done():
	}
}

// forget returns the groups that take back what is discovered.
func (d *fileDiscoverer) forget() (empty []*targetgroup.Group) {
	for source := range d.found {
		empty = append(empty, &targetgroup.Group{Source: source})
	}
	return empty
}

// pause waits, and reports whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
