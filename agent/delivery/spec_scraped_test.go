package delivery

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/scrape"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// sceneScraped: a real scrape of labels without order, an empty one, names of UTF-8 and
// a series that vanishes, by a job that takes such names and one that does not.
func sceneScraped(t *testing.T, version string) map[string]answered {
	s := newSpecRig(t, version)
	s.start()
	s.play(func(string) func(*posted) *agenttest.Answer { return acknowledge(http.StatusNoContent, "") })
	var vanished atomic.Bool
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		if r.URL.Path == "/utf8" {
			_, _ = w.Write([]byte("{\"http.requests\",\"http.method\"=\"GET\"} 1\n"))
			return
		}
		_, _ = w.Write([]byte("stays{zone=\"1\",area=\"2\",empty=\"\"} 1\n"))
		if !vanished.Load() {
			_, _ = w.Write([]byte("vanishes 1\n"))
		}
	}))
	t.Cleanup(target.Close)
	stop := s.scrapeTarget(strings.TrimPrefix(target.URL, "http://"))
	for name, c := range s.recorders {
		s.eventually("the first scrapes at "+name, func() error {
			s.delivery.Notify()
			return namesArrived(c.recorded(), "vanishes", "http.requests")
		})
	}
	vanished.Store(true)
	for name, c := range s.recorders {
		s.eventually("a stale marker at "+name, func() error {
			s.delivery.Notify()
			return staleWhereVanished(answered{posts: c.recorded()})
		})
	}
	stop()
	all := s.settled()
	for name, a := range all {
		a.sent = s.of(name, a)
		all[name] = a
	}
	return all
}

// scrapeTarget scrapes an address by three jobs until it is told to stop.
func (s *specRig) scrapeTarget(address string) (stop func()) {
	s.t.Helper()
	m, err := scrape.NewManager(&scrape.Options{DiscoveryReloadOnStartup: true, PassMetadataInContext: true}, slog.New(slog.DiscardHandler), nil, nil, s.append, prometheus.NewRegistry())
	if err != nil {
		s.t.Fatal(err)
	}
	text := "global: {scrape_interval: 100ms, scrape_timeout: 100ms}\nscrape_configs:\n"
	groups := map[string][]*targetgroup.Group{}
	for job, more := range map[string]string{"plain": "", "utf8": ", metrics_path: /utf8", "legacy": ", metrics_path: /utf8, metric_name_validation_scheme: legacy"} {
		text += fmt.Sprintf("- {job_name: %s%s}\n", job, more)
		groups[job] = []*targetgroup.Group{{Source: job, Targets: []model.LabelSet{{model.AddressLabel: model.LabelValue(address)}}}}
	}
	cfg, err := config.Load(text, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := m.ApplyConfig(cfg); err != nil {
		s.t.Fatal(err)
	}
	targets, ended := make(chan map[string][]*targetgroup.Group, 1), make(chan error, 1)
	targets <- groups
	go func() { ended <- m.Run(targets) }()
	return func() {
		m.Stop()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	}
}

// labelOf is a label of a time series, empty where it has none of that name.
func (s *wireSeries) labelOf(name string) string {
	for _, l := range s.labels {
		if l.name == name {
			return l.value
		}
	}
	return ""
}

// namesArrived reports what has not arrived yet, and whether the legacy job, which was
// scraped as well, is among it.
func namesArrived(posts []*posted, names ...string) error {
	seen, jobs := map[string]bool{}, map[string]bool{}
	for _, p := range posts {
		for i := range p.series {
			seen[p.series[i].labelOf("__name__")] = true
			jobs[p.series[i].labelOf("job")] = true
		}
	}
	for _, name := range names {
		if !seen[name] {
			return errNotYet(name)
		}
	}
	if !jobs["legacy"] {
		return errNotYet("the legacy job")
	}
	return nil
}

// staleWhereVanished: the last of a series that a target shows no more is a stale
// marker. One may have come before, after a scrape that took too long.
func staleWhereVanished(a answered) error {
	var last wireSample
	for _, p := range a.posts {
		for i := range p.series {
			if n := len(p.series[i].samples); n > 0 && p.series[i].labelOf("__name__") == "vanishes" {
				last = p.series[i].samples[n-1]
			}
		}
	}
	if last.bits != staleBits {
		return fmt.Errorf("its last sample is %x at %d", last.bits, last.t)
	}
	return nil
}

// legacyNames: a job that does not take names of UTF-8 sends none of them, and no sample
// of a target that has them.
func legacyNames(a answered) error {
	up := 0
	for _, p := range a.posts {
		for i := range p.series {
			w := &p.series[i]
			if w.labelOf("job") != "legacy" {
				continue
			}
			if strings.Contains(w.key(), "http.") {
				return errors.New(w.key())
			}
			if w.labelOf("__name__") == "up" {
				up++
			}
		}
	}
	if up == 0 {
		return errors.New("it was not scraped")
	}
	return nil
}
