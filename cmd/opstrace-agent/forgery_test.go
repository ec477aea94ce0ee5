package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// forged is what a target answers that would like to be another: a is there, and so is up
// of every target. The value of all is that of forgeries only.
const forged = `a{job="victim",instance="v"} 666
up{job="victim",instance="v"} 666
up{job="victim",instance="v",exported_job="victim",exported_instance="v"} 666
scrape_samples_scraped{job="victim",instance="v"} 666
{"up",job="victim",instance="v"} 666
b{__address__="v",__metrics_path__="/v",__scheme__="https",job="victim",instance="v"} 666
c{job="victim",instance="v",host="another"} 666
d{job="victim",instance="v"} 666 %d
`

// TestForgedSeries: a target that names the job, the instance and the metrics of another
// writes into no series of it, but where honor_labels lets it; and it can name neither
// the host nor the time where the job does not let it.
func TestForgedSeries(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	serve := func(body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=1.0.0; escaping=allow-utf-8")
			fmt.Fprint(w, body)
		}))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	victim, forger := serve("a 1\n"), serve(fmt.Sprintf(forged, begin.Add(-10*time.Minute).UnixMilli()))
	// Two names: neither is taken, nor is anything beside them.
	named := serve("a 666\n" + `b{__name__="up",job="victim",instance="v"} 666` + "\n")
	e := newEndpoint(t, agenttest.Options{PlainHTTP: true, Keep: func(labels.Labels) bool { return true }, Tokens: map[string]string{"default": ""}})
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "c.yml"), fmt.Sprintf(`
global: {scrape_interval: 200ms, scrape_timeout: 200ms, external_labels: {host: mine}}
scrape_configs:
- {job_name: victim, static_configs: [{targets: [%[1]q], labels: {instance: v}}]}
- {job_name: usual, static_configs: [{targets: [%[2]q]}]}
- {job_name: strict, honor_timestamps: false, static_configs: [{targets: [%[2]q]}], metric_relabel_configs: [{action: labeldrop, regex: host}]}
- {job_name: named, static_configs: [{targets: [%[4]q]}]}
- {job_name: trusting, honor_labels: true, static_configs: [{targets: [%[2]q]}], metric_relabel_configs: [{target_label: trusted, replacement: 'yes'}]}
remote_write: [{name: good, url: %[3]q, queue_config: {batch_send_deadline: 200ms}}]
`, victim, forger, e.URL(), named))
	r := start(t, nil, "--config.file="+file, "--storage.agent.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")

	// forgeries are the series with that value, by what they are.
	forgeries := func() map[string]int {
		found := map[string]int{}
		for _, s := range e.Snapshot().Series() {
			for _, sample := range s.Samples {
				if sample.V != 666 {
					continue
				}
				switch who := s.Labels.Get("job"); {
				case s.Labels.Get("trusted") != "":
					found["trusted as "+who+" "+s.Labels.Get("instance")]++
				case s.Labels.Get("instance") != forger:
					found["forged: "+s.Labels.String()]++
				case s.Labels.Get("host") != "mine" && who == "strict":
					found["another host: "+s.Labels.String()]++
				case sample.T < begin.UnixMilli() && who == "strict":
					found["another time: "+s.Labels.String()]++
				case s.Labels.Get("host") == "another":
					found["named another host"]++
				default:
					found[who]++
				}
			}
		}
		return found
	}
	r.eventually("all have delivered", func() bool {
		f := forgeries()
		return f["usual"] > 20 && f["named another host"] > 0 && f["strict"] > 20 && f["trusted as victim v"] > 20
	})
	for what := range forgeries() {
		if what != "usual" && what != "named another host" && what != "strict" && what != "trusted as victim v" {
			t.Error(what)
		}
	}
	ours := 0
	for _, s := range e.Snapshot().Series() {
		if s.Labels.Get("instance") != "v" || s.Labels.Get("trusted") != "" {
			continue
		}
		for _, sample := range s.Samples {
			ours++
			if sample.V == 666 || s.Labels.Get("job") != "victim" {
				t.Errorf("%s has %v", s.Labels, sample.V)
			}
		}
	}
	if ours == 0 {
		t.Error("nothing of the victim's own")
	}
}
