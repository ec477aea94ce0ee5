package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/redact"
	"github.com/opstrace/opstrace-agent/agent/verdict"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// The names are those that scrapeconfig makes, so that a change there is noticed.
func TestDestinationTitles(t *testing.T) {
	cfg, err := scrapeconfig.Load([]byte(`
remote_write:
- url: https://cortex.default.c.opstrace.io/api/v1/push
- url: http://u:p@127.0.0.1:9009/push?x=y
- url: http://[::1]:9009/push
- {name: mine, url: "http://other:9009/push"}
- url: http://shared:9009/a
- url: http://shared:9009/b
- {name: shared.example.org-1234567, url: "http://shared.example.org/"}
`), "test.yml", log.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	urls := map[string]string{}
	for _, rw := range cfg.RemoteWriteConfigs {
		urls[rw.Name] = redact.Destination(rw.URL.URL)
	}
	titles := verdict.Titles(urls)
	names := cfg.RemoteWriteConfigs
	for i, want := range []string{
		"cortex.default.c.opstrace.io", "127.0.0.1:9009", "[::1]:9009", "mine", names[4].Name, names[5].Name, "shared.example.org-1234567",
	} {
		if got := titles[names[i].Name]; got != want {
			t.Errorf("%s %s: %q instead of %q", names[i].Name, names[i].URL, got, want)
		}
	}
}

func TestTitleOnThePage(t *testing.T) {
	s, err := New(Options{Agent: idleAgent(t), Gatherer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	st := agent.Status{Ready: true, Destinations: []delivery.Status{{Name: "127.0.0.1-57eff18d", URL: "http://127.0.0.1:9009/push", State: delivery.Live}}}
	v := s.view(noon, st, targetSet{}, query{})
	if v.Destinations[0].Title != "127.0.0.1:9009" {
		t.Errorf("%+v", v.Destinations[0])
	}
}

// What waits for a destination is one number, and not that of now and that of some
// seconds ago beside each other.
func TestOneNumberPerFact(t *testing.T) {
	s, err := New(Options{Agent: idleAgent(t), Gatherer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	waiting := func(samples uint64) []delivery.Status {
		return []delivery.Status{{Name: "a", State: delivery.Live, BacklogSamples: samples}}
	}
	for i, samples := range []uint64{1, 2222, 333} {
		s.history.take(noon.Add(time.Duration(i)*sampleInterval), waiting(samples))
	}
	st := agent.Status{Ready: true, Destinations: waiting(4321), Storage: agent.StorageStatus{Bytes: 123 << 20, WALBytes: 45 << 20, BacklogBytes: 67 << 20, MaxBytes: 1 << 30}}
	rec := httptest.NewRecorder()
	s.render(rec, httptest.NewRequest(http.MethodGet, "/", nil), s.view(noon, st, targetSet{}, query{}))
	_, page, _ := strings.Cut(rec.Body.String(), `<section id="delivery"`)
	page, _, _ = strings.Cut(page, "</section>")
	for _, want := range []string{">4,321 <small>samples", "most 2,222", "123 MiB <small>of 1 GiB", "Bridges an outage of"} {
		if !strings.Contains(page, want) {
			t.Errorf("not there: %s", want)
		}
	}
	for _, again := range []string{"<b>333</b>", "45 MiB", "67 MiB"} {
		if strings.Contains(page, again) {
			t.Errorf("there as well: %s", again)
		}
	}
}
