package targetcheck

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/file"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// settle is how long a discovery that has answered must be silent to count as
// done: some answer in several parts, one for each file.
const settle = 300 * time.Millisecond

// discover asks every discovery of the job once, each by itself, to know which
// of them does not answer.
func (j *Job) discover(ctx context.Context, c *config.ScrapeConfig, timeout time.Duration) {
	var (
		wg sync.WaitGroup
		mu sync.Mutex
	)
	found := map[string]*targetgroup.Group{}
	for i, sd := range c.ServiceDiscoveryConfigs {
		if files, ok := sd.(*file.SDConfig); ok && !matchesAny(files.Files) {
			j.Notes = append(j.Notes, "file_sd_configs: no file matches "+strings.Join(files.Files, ", "))
			continue
		}
		wg.Go(func() {
			groups, failures := ask(ctx, sd, c.JobName, timeout)
			mu.Lock()
			defer mu.Unlock()
			for source, g := range groups {
				found[fmt.Sprint(i, source)] = g
			}
			for _, f := range failures {
				j.Failures = append(j.Failures, fmt.Sprintf("%s_sd_configs: %s", sd.Name(), f))
			}
		})
	}
	wg.Wait()
	for _, key := range slices.Sorted(maps.Keys(found)) {
		j.groups = append(j.groups, found[key])
	}
	slices.Sort(j.Failures)
}

func matchesAny(patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		found, err := filepath.Glob(p)
		return err != nil || len(found) > 0
	})
}

// ask runs one discovery until it has answered, for better or worse.
func ask(ctx context.Context, sd discovery.Config, job string, timeout time.Duration) (groups map[string]*targetgroup.Group, failures []string) {
	// It ends with no deadline of its own: a request that is cut off then would be told as
	// a failure of that discovery, and whether before or after this one is chance.
	ctx, cancel := context.WithCancel(ctx)
	late := time.After(timeout)
	reg := prometheus.NewRegistry()
	metrics := sd.NewDiscovererMetrics(reg, discovery.NewRefreshMetrics(reg))
	if err := metrics.Register(); err != nil {
		cancel()
		return nil, []string{err.Error()}
	}
	ears := &listener{heard: make(chan struct{}, 1)}
	d, err := sd.NewDiscoverer(discovery.DiscovererOptions{Logger: slog.New(ears), Metrics: metrics, SetName: job})
	if err != nil {
		cancel()
		return nil, []string{err.Error()}
	}
	updates := make(chan []*targetgroup.Group)
	// It is not waited for: upstream's DNS lookups do not end with their context.
	go d.Run(ctx, updates)
	defer cancel()

	groups = map[string]*targetgroup.Group{}
	var quiet <-chan time.Time
	for {
		select {
		case update, more := <-updates:
			if !more { // static targets
				return groups, ears.failures()
			}
			for _, g := range update {
				if g != nil {
					groups[g.Source] = g
				}
			}
			quiet = time.After(settle)
		case <-ears.heard:
			quiet = time.After(settle)
		case <-quiet:
			return groups, ears.failures()
		case <-ctx.Done():
			return groups, ears.failures()
		case <-late:
			failures = ears.failures()
			if len(failures) == 0 && quiet == nil {
				failures = []string{"no answer within " + timeout.String()}
			}
			return groups, failures
		}
	}
}

// Upstream's discoveries report failures to their log alone. These two messages
// end an attempt; others may come while an answer is still on its way.
var final = []string{"Unable to refresh target groups", "Error reading file"}

// listener is a slog.Handler that collects what a discovery complains about.
type listener struct {
	heard chan struct{} // gets a value when an attempt has failed

	mu    sync.Mutex
	lines []string
}

func (*listener) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

func (l *listener) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "err":
			line += ": " + a.Value.String()
		case "path", "name":
			line += " " + a.Value.String()
		}
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(l.lines, line) {
		l.lines = append(l.lines, line)
	}
	if slices.Contains(final, r.Message) {
		select {
		case l.heard <- struct{}{}:
		default:
		}
	}
	return nil
}

func (l *listener) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *listener) WithGroup(string) slog.Handler      { return l }

func (l *listener) failures() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}
