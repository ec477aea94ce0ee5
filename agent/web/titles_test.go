package web

import (
	"testing"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/redact"
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
	var views []destinationView
	for _, rw := range cfg.RemoteWriteConfigs {
		views = append(views, destinationView{Status: delivery.Status{Name: rw.Name, URL: redact.Destination(rw.URL.URL)}})
	}
	cards := destinationCards(views)
	for i, want := range []string{
		"cortex.default.c.opstrace.io", "127.0.0.1:9009", "[::1]:9009", "mine", views[4].Name, views[5].Name, "shared.example.org-1234567",
	} {
		if cards[i].Title != want {
			t.Errorf("%s %s: %q instead of %q", cards[i].Name, cards[i].URL, cards[i].Title, want)
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
