package delivery

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/storage/remote"
)

// What cmd/opstrace-agent does with the name and version that it was built with.
func init() { remote.UserAgent = "opstrace-agent/0.2.0" }

// TestSenderSpecification: what remote write 1.0 and 2.0 ask of a sender is done, by a
// destination that is live and by one that is drained, but for what the table says.
func TestSenderSpecification(t *testing.T) {
	t.Parallel()
	w := see(t)
	if t.Failed() {
		t.Fatal("not everything was seen")
	}
	for _, r := range specRows() {
		for _, path := range specPaths {
			t.Run(r.version+"/"+r.section+"/"+r.words+"/"+path, func(t *testing.T) {
				if err := r.run(w, path); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestSpecificationChecks: each check fails for a recording that breaks its rule.
func TestSpecificationChecks(t *testing.T) {
	t.Parallel()
	for _, r := range specRows() {
		if r.check == nil {
			if r.test == nil {
				t.Errorf("%s: nothing is tested", r.words)
			}
			continue
		}
		if err := r.check(wellSent(r.version)); err != nil {
			t.Errorf("%s, %s: %s", r.version, r.words, err)
		}
		s := wellSent(r.version)
		r.bad(s)
		if err := r.check(s); err == nil {
			t.Errorf("%s, %s: it does not notice", r.version, r.words)
		}
	}
}

// wellSent is a recording that keeps all rules: of two requests, of two series.
func wellSent(version string) *sent {
	s := &sent{path: "/push", facts: map[string]*fact{}}
	for n := range int64(2) {
		h := http.Header{}
		h.Set("Content-Encoding", "snappy")
		h.Set("Content-Type", "application/x-protobuf")
		h.Set("User-Agent", "Prometheus/3.16.0")
		h.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
		p := &posted{method: http.MethodPost, path: "/push", status: 204, header: h}
		p.begun = time.Unix(n, 0)
		p.answered = p.begun
		if version == "2.0" {
			h.Set("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
			h.Set("X-Prometheus-Remote-Write-Version", "2.0.0")
			p.symbols = []string{"", "a"}
		}
		counter := wireSeries{
			refs: 4, labels: []wireLabel{{"__name__", "c"}, {"job", "j"}, {"x", "y"}}, kind: 1, help: "h",
			samples: []wireSample{{t: 1000 + n, start: 7, bits: 1}},
		}
		if n == 1 {
			counter.samples[0].bits = staleBits
			counter.exemplars = []wireExemplar{{[]wireLabel{{"trace_id", "1"}}, 1001, 1}}
		}
		changes := wireSeries{refs: 2, labels: []wireLabel{{"__name__", "changes"}}}
		if n == 0 {
			p.series = []wireSeries{counter}
			continueWith(s, p)
			continue
		}
		floats := changes
		floats.samples = []wireSample{{t: 1000}}
		histograms := changes
		histograms.histograms = []wireSample{{t: 1001}}
		p.series = []wireSeries{counter, histograms}
		s.posts[0].series = append(s.posts[0].series, floats)
		continueWith(s, p)
	}
	c := s.posts[0].series[0]
	s.facts[c.key()] = &fact{times: map[int64]bool{1000: true, 1001: true}, stale: map[int64]bool{1001: true}, start: 7, kind: 1, help: "h", exemplars: 1}
	changes := s.posts[0].series[1]
	s.facts[changes.key()] = &fact{times: map[int64]bool{1000: true, 1001: true}, mixed: true}
	return s
}

func continueWith(s *sent, p *posted) { s.posts = append(s.posts, p) }

// TestSpecificationPage: the page has the table that is tested.
func TestSpecificationPage(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../packaging/doc/specification.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"1.0", "2.0"} {
		_, section, found := strings.Cut(string(b), "\n## Remote write "+version+"\n\n")
		got, _, _ := strings.Cut(section, "\n## ")
		if want := specTable(version); !found || strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("the table of %s is to be\n\n## Remote write %s\n\n%s", version, version, want)
		}
	}
}

// specTable is the table of a version in Markdown.
func specTable(version string) string {
	var b strings.Builder
	b.WriteString("| section | level | what a sender does | held? |\n|---------|-------|--------------------|-------|\n")
	for _, r := range specRows() {
		if r.version != version {
			continue
		}
		held := "yes"
		switch {
		case r.deviates != "":
			held = "no, on purpose: " + r.deviates
		case r.note != "":
			held = "yes: " + r.note
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.section, r.level, r.words, held)
	}
	return b.String()
}
