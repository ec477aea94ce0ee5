package delivery

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/model/value"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// The two ways of a sample: by upstream's queue, and out of the backlog.
var specPaths = []string{"live", "drained"}

// specRig has a destination of each way, with a recorder in front of its endpoint.
type specRig struct {
	*rig
	version   string
	recorders map[string]*recorder
	words     lockedBuffer // of the log
	facts     map[string]*fact
	origin    int64 // start timestamp of what has one
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mtx sync.Mutex
	b   bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	return l.b.String()
}

// newSpecRig is not open yet; more are further destinations, of which those that begin
// with "drained" are to be behind.
func newSpecRig(t *testing.T, version string, more ...string) *specRig {
	t.Helper()
	manners := agenttest.Manners{RemoteWrite2: agenttest.AcceptRemoteWrite2}
	s := &specRig{rig: newRig(t, manners), version: version, recorders: map[string]*recorder{}, facts: map[string]*fact{}, origin: time.Now().Add(-time.Hour).UnixMilli()}
	delete(s.endpoints, "one")
	s.urls = map[string]string{}
	s.options.MinStay = time.Hour
	s.options.MaxLiveLag, s.timeout = time.Hour, "5m" // however slow this host is
	s.log = log.NewLogfmtLogger(&s.words)
	s.upstreamLog = slog.NewTextHandler(&s.words, nil)
	for _, name := range append(slices.Clone(specPaths), more...) {
		s.addDestination(name, manners)
		s.recorders[name] = newRecorder(t, s.endpoints[name].URL())
		s.urls[name] = s.recorders[name].url
		if version == "2.0" {
			s.extra[name] = "    protobuf_message: io.prometheus.write.v2.Request\n"
		}
	}
	return s
}

// start brings every destination to where it belongs, with nothing left to send and
// nothing recorded.
func (s *specRig) start() {
	s.t.Helper()
	s.open()
	for name := range s.recorders {
		s.awaitState(name, Live)
	}
	for name := range s.recorders {
		if strings.HasPrefix(name, "drained") {
			s.goBehind(name)
			s.endpoints[name].Recover()
		}
	}
	for name, c := range s.recorders {
		s.awaitSettled(name)
		c.play(nil)
	}
}

// stayed fails if a destination is not where it was at the start.
func (s *specRig) stayed() {
	s.t.Helper()
	for name := range s.recorders {
		want := Live
		if strings.HasPrefix(name, "drained") {
			want = Behind
		}
		if is := s.status(name); is.State != want {
			s.t.Errorf("%s is %s: %s", name, is.State, is.Why)
		}
	}
}

// answered is what became of what was sent to one destination.
type answered struct {
	posts  []*posted
	ledger ledger.Terms
	state  State
	words  string // of the log
	sent   *sent  // with what there was to be sent, where a scene knows that
}

// settled waits until nothing is left to send.
func (s *specRig) settled() map[string]answered {
	s.t.Helper()
	all := map[string]answered{}
	for name, c := range s.recorders {
		terms := s.awaitSettled(name)
		all[name] = answered{posts: c.recorded(), ledger: terms, state: s.status(name).State, words: s.words.String()}
	}
	return all
}

func (s *specRig) play(script func(name string) func(*posted) *agenttest.Answer) {
	for name, c := range s.recorders {
		c.play(script(name))
	}
}

// acknowledge answers as a receiver does that stores everything.
func acknowledge(status int, body string) func(p *posted) *agenttest.Answer {
	return func(p *posted) *agenttest.Answer {
		a := &agenttest.Answer{Status: status, Body: body, Header: http.Header{}}
		if p.symbols != nil {
			a.Header.Set("X-Prometheus-Remote-Write-Samples-Written", fmt.Sprint(p.samples()))
		}
		return a
	}
}

const specRelabelling = `    write_relabel_configs:
      - {source_labels: [__name__], regex: go_.*, action: drop}
      - {source_labels: [site], target_label: place}
      - {source_labels: [site], target_label: site, regex: "void", replacement: ""}
      - {regex: tmp_.*, action: labeldrop}
`

// arriving is what the labels of a series are to be at the endpoint, with
// external labels and specRelabelling.
func arriving(lset map[string]string) string {
	out := map[string]string{"region": "r", "Above": "a", "site": "b"}
	for name, v := range lset {
		if v != "" && !strings.HasPrefix(name, "tmp_") {
			out[name] = v
		}
	}
	if out["place"] = out["site"]; out["site"] == "void" {
		delete(out, "site")
	}
	var w wireSeries
	for name, v := range out {
		w.labels = append(w.labels, wireLabel{name, v})
	}
	return w.key()
}

// specSample is one sample of an exposition.
type specSample struct {
	name, kind string // kind: of the metadata
	more       []string
	v          float64
	h          *histogram.Histogram
	fh         *histogram.FloatHistogram
	start      bool
	exemplar   bool
	age        time.Duration
}

// exposed is what a target shows in scrape n.
func exposed(n int) []specSample {
	f := float64(n + 1)
	comes := f
	if n%4 == 3 {
		comes = math.Float64frombits(value.StaleNaN)
	}
	changes := specSample{name: "changes", v: f}
	if n%2 == 1 {
		changes = specSample{name: "changes", h: tsdbutil.GenerateTestHistogram(int64(n))}
	}
	all := []specSample{
		{name: "temperature_celsius", kind: "gauge", more: []string{"room", "é"}, v: f},
		{name: "temperature_celsius", kind: "gauge", more: []string{"room", "2", "empty", ""}, v: -f},
		{name: "requests_total", kind: "counter", v: f, start: true, exemplar: true},
		{name: "no_number", v: math.NaN()},
		{name: "comes_and_goes", v: comes},
		{name: "go_dropped", v: 1},
		{name: "void", more: []string{"site", "void"}, v: f},
		{name: "from_yesterday", v: f, age: 24 * time.Hour},
		{name: "int_histogram", kind: "histogram", h: tsdbutil.GenerateTestHistogram(int64(n)), start: true, exemplar: true},
		{name: "float_histogram", kind: "histogram", fh: tsdbutil.GenerateTestFloatHistogram(int64(n))},
		{name: "custom_buckets", kind: "histogram", h: tsdbutil.GenerateTestCustomBucketsHistogram(int64(n))},
		changes,
	}
	for _, le := range []string{"1", "2", "+Inf"} {
		all = append(all, specSample{name: "classic_bucket", kind: "histogram", more: []string{"le", le}, v: f, start: true})
	}
	return all
}

// expose appends one scrape, and notes what is to arrive of it.
func (s *specRig) expose(n int, at time.Time) {
	s.t.Helper()
	app := s.append.AppenderV2(s.t.Context())
	for _, x := range exposed(n) {
		pairs := append([]string{"__name__", x.name, "job", "j", "tmp_x", "y"}, x.more...)
		if x.name == "temperature_celsius" {
			pairs = append(pairs, "site", "own")
		}
		lset := labels.FromStrings(pairs...)
		t := at.Add(-x.age).UnixMilli()
		o := storage.AppendV2Options{}
		if x.kind != "" {
			o.MetricFamilyName, o.Metadata = x.name, metadata.Metadata{Type: model.MetricType(x.kind), Unit: "u", Help: "About " + x.name}
		}
		if x.exemplar {
			o.Exemplars = []exemplar.Exemplar{{Labels: labels.FromStrings("trace_id", fmt.Sprint(n), "a", "b"), Value: float64(n + 1), Ts: t, HasTs: true}}
		}
		st := int64(0)
		if x.start {
			st = s.origin
		}
		if _, err := app.Append(0, lset, st, t, x.v, x.h, x.fh, o); err != nil {
			s.t.Fatal(err)
		}
		s.note(x, lset, t, st)
	}
	if err := app.Commit(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *specRig) note(x specSample, lset labels.Labels, t, start int64) {
	if x.name == "go_dropped" || s.version == "1.0" && x.name == "custom_buckets" {
		return
	}
	key := arriving(lset.Map())
	f := s.facts[key]
	if f == nil {
		f = &fact{times: map[int64]bool{}, stale: map[int64]bool{}, mixed: x.name == "changes"}
		s.facts[key] = f
	}
	f.times[t] = true
	f.start = start
	if x.kind != "" {
		f.kind = int32(writev2.FromMetadataType(model.MetricType(x.kind)))
		f.help, f.unit = "About "+x.name, "u"
	}
	if x.exemplar {
		f.exemplars++
	}
	if value.IsStaleNaN(x.v) {
		f.stale[t] = true
	}
}

// of is what a destination was sent.
func (s *specRig) of(name string, a answered) *sent {
	return &sent{posts: a.posts, path: s.recorders[name].path, facts: s.facts}
}
