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
	for _, want := range []string{">4,321 <small>samples", "most 4,321", "123 MiB <small>of 1 GiB", "Bridges an outage of"} {
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

// deliverySection is what the page of an agent in this state says of delivery, and its
// figures.
func deliverySection(t *testing.T, st agent.Status) (figures, delivery string) {
	t.Helper()
	s, err := New(Options{Agent: idleAgent(t), Gatherer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	s.render(rec, httptest.NewRequest(http.MethodGet, "/", nil), s.view(noon, st, targetSet{}, query{}))
	figures, page, _ := strings.Cut(rec.Body.String(), `<section id="delivery"`)
	page, _, _ = strings.Cut(page, "</section>")
	return figures, page
}

// TestWordsOfADestination: what is said of a destination is so in every state.
func TestWordsOfADestination(t *testing.T) {
	failing := delivery.Status{Name: "a", State: delivery.Behind, LastError: "server returned HTTP status 401 Unauthorized", LastErrorAt: before(0), OldestUnsent: before(time.Minute)}
	for name, c := range map[string]struct {
		st           agent.Status
		there, never []string
	}{
		// It does answer, and what nobody answers is no answer.
		"refused": {agent.Status{Destinations: []delivery.Status{failing}}, []string{"when it takes samples again", "Last error"}, []string{"answers again", "Last answer"}},
		"nothing read so far": {agent.Status{Destinations: []delivery.Status{{Name: "a", State: delivery.Behind, BacklogSamples: 728}}},
			[]string{"<dt>Oldest of them</dt><dd>not known yet</dd>"}, nil},
		"nothing waits": {agent.Status{Destinations: []delivery.Status{{Name: "a", State: delivery.Live}}},
			[]string{"<dt>Oldest of them</dt><dd>–</dd>"}, nil},
		"budget used up": {agent.Status{Verdict: verdict.Verdict{Problems: []verdict.Problem{{Kind: verdict.Evicting, Level: verdict.Bad}}}},
			[]string{`class="card storage bad"`, "the oldest goes"}, nil},
	} {
		c.st.Ready = true
		_, page := deliverySection(t, c.st)
		for _, want := range c.there {
			if !strings.Contains(page, want) {
				t.Errorf("%s: not there: %s", name, want)
			}
		}
		for _, not := range c.never {
			if strings.Contains(page, not) {
				t.Errorf("%s: there: %s", name, not)
			}
		}
	}
}

// TestFiguresWithoutDestination: what goes in and out is counted for destinations, so
// that without one there is no figure of it, rather than an empty one.
func TestFiguresWithoutDestination(t *testing.T) {
	with, _ := deliverySection(t, agent.Status{Ready: true, Destinations: []delivery.Status{{Name: "a", State: delivery.Live}}})
	without, _ := deliverySection(t, agent.Status{Ready: true})
	if !strings.Contains(with, "Samples in") || strings.Contains(without, "Samples in") || strings.Contains(without, "Delivered") {
		t.Errorf("with:\n%s\nwithout:\n%s", with, without)
	}
}
