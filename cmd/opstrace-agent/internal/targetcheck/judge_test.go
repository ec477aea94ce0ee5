package targetcheck

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/agent"

	"github.com/opstrace/opstrace-agent/agent/limits"
)

// TestJudgesAsTheAgent: what the running agent makes of the same expositions.
func TestJudgesAsTheAgent(t *testing.T) {
	long := strings.Repeat("x", 100)
	text := "scrape_configs:\n" +
		static("twice", page(t, "m{container_id=\"x\",container_id=\"x\"} 1\ngood 2\n")) +
		static("long", page(t, "m{a=\""+long+"\"} 1\ngood 2\n")) +
		static("many", page(t, "m{a=\"1\",b=\"1\",c=\"1\",d=\"1\",e=\"1\"} 1\ngood 2\n")) +
		static("large", page(t, "good 2\n# "+strings.Repeat("y", 2000)+"\n")) +
		static("trusted", page(t, "good 2\n# "+strings.Repeat("y", 2000)+"\n"), "body_size_limit: 20MB") +
		"remote_write: [{name: d, url: 'http://127.0.0.1:1/'}]\n"
	r, err := Run(t.Context(), load(t, text), Options{DiscoveryTimeout: 10 * time.Second, Progress: func(int, int, string) {},
		Limits: limits.Limits{LabelLength: 90, Labels: 6, BodySize: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct{ err, dropped string }{
		{`label name "container_id" is not unique: invalid sample`, "map[]"},
		{"", "map[label_too_long:1]"},
		{"", "map[too_many_labels:1]"},
		{"body size limit exceeded", "map[]"},
		{"", "map[]"},
	} {
		got := r.Jobs[i].Targets[0]
		if errs := fmt.Sprint(got.Err); (want.err == "") != (got.Err == nil) || got.Err != nil && errs != want.err {
			t.Errorf("%s: got error %s", r.Jobs[i].Name, errs)
		}
		if dropped := fmt.Sprint(got.Dropped); dropped != want.dropped || got.NotTaken != 0 {
			t.Errorf("%s: dropped %s, %d not taken", r.Jobs[i].Name, dropped, got.NotTaken)
		}
	}
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], `body_size_limit of job "trusted" is 20MiB`) {
		t.Errorf("got warnings %q", r.Warnings)
	}
}

// TestInvalidIsUpstreams: the storage of the agent says the same.
func TestInvalidIsUpstreams(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	db, err := agent.Open(logger, nil, remote.NewStorage(logger, nil, nil, t.TempDir(), time.Second, nil, false), t.TempDir(), agent.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	twice := labels.NewScratchBuilder(2)
	twice.Add("a", "1")
	twice.Add("a", "1")
	for name, tc := range map[string]struct {
		ls labels.Labels
		h  *histogram.Histogram
	}{
		"good":      {labels.FromStrings("__name__", "m"), nil},
		"none":      {labels.EmptyLabels(), nil},
		"empty":     {labels.FromStrings("a", ""), nil},
		"twice":     {twice.Labels(), nil},
		"histogram": {labels.FromStrings("__name__", "h"), &histogram.Histogram{Count: 7, PositiveSpans: []histogram.Span{{Length: 1}}}},
	} {
		_, want := db.AppenderV2(t.Context()).Append(0, tc.ls, 0, time.Now().UnixMilli(), 1, tc.h, nil, storage.AOptions{})
		if got := invalid(tc.ls, tc.h, nil); fmt.Sprint(got) != fmt.Sprint(want) || (name == "good") != (got == nil) {
			t.Errorf("%s: got %v, upstream says %v", name, got, want)
		}
	}
}

// TestRefusedByATenant: labels of samples, which only a scrape shows.
func TestRefusedByATenant(t *testing.T) {
	r := check(t, load(t, "scrape_configs:\n"+static("utf8", page(t, "{\"http.server.duration\",\"http.method\"=\"GET\"} 1\nplain 2\n"), "metric_name_validation_scheme: utf8")+`
remote_write:
  - {name: tenant, url: 'http://127.0.0.1:1/api/v1/push'}
  - {name: other, url: 'http://127.0.0.1:1/api/v1/write'}
`))
	tenant, other := r.Jobs[0].Targets[0].Sends[0], r.Jobs[0].Targets[0].Sends[1]
	if tenant.Refused != 1 || !strings.Contains(tenant.Problem, "is not the name of a") || other.Refused != 0 || !r.Failed() {
		t.Errorf("got %+v and %+v", tenant, other)
	}
}
