package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// posted is one request as it was on the wire, and how it was answered.
type posted struct {
	begun, answered time.Time
	method, path    string
	header          http.Header
	body            []byte
	status          int    // 0: not answered yet
	retryAfter      string // of the answer

	undecodable error
	series      []wireSeries
	symbols     []string // 2.0
	outside     []string // fields of 1.0 that the specification does not have
}

// wireSeries is a time series of either version.
type wireSeries struct {
	refs       int // labels_refs, or twice the labels
	labels     []wireLabel
	samples    []wireSample
	histograms []wireSample
	exemplars  []wireExemplar
	kind       int32 // 2.0, of the metadata
	help, unit string
}

type wireLabel struct{ name, value string }

// wireSample is a sample or, by its sum, a histogram.
type wireSample struct {
	t, start int64
	bits     uint64
}

type wireExemplar struct {
	labels []wireLabel
	t      int64
	value  float64
}

// key is the series as a receiver knows it.
func (s *wireSeries) key() string {
	pairs := make([]string, len(s.labels))
	for i, l := range s.labels {
		pairs[i] = fmt.Sprintf("%s=%q", l.name, l.value)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

// all are the samples and histograms.
func (s *wireSeries) all() []wireSample { return slices.Concat(s.samples, s.histograms) }

func (p *posted) acknowledged() bool { return p.status/100 == 2 }

// empty reports whether it holds no sample.
func (p *posted) empty() bool { return p.samples() == 0 }

func (p *posted) samples() (n int) {
	for i := range p.series {
		n += len(p.series[i].all())
	}
	return n
}

// identities are the samples in it, each as a string.
func (p *posted) identities() (all []string) {
	for i := range p.series {
		for _, x := range p.series[i].all() {
			all = append(all, fmt.Sprintf("%s @%d", p.series[i].key(), x.t))
		}
	}
	return all
}

// decode reads the body by upstream's types, as the Content-Type says.
func (p *posted) decode() {
	message, err := snappy.Decode(nil, p.body)
	switch {
	case err != nil:
		p.undecodable = fmt.Errorf("snappy's block format: %w", err)
	case strings.Contains(p.header.Get("Content-Type"), "io.prometheus.write.v2.Request"):
		var w writev2.Request
		if p.undecodable = w.Unmarshal(message); p.undecodable == nil {
			p.readV2(&w)
		}
	default:
		var w prompb.WriteRequest
		if p.undecodable = w.Unmarshal(message); p.undecodable == nil {
			p.readV1(&w)
		}
	}
}

func (p *posted) readV1(w *prompb.WriteRequest) {
	if len(w.Metadata) > 0 {
		p.outside = append(p.outside, "metadata")
	}
	wireLabels := func(in []prompb.Label) (out []wireLabel) {
		for _, l := range in {
			out = append(out, wireLabel{l.Name, l.Value})
		}
		return out
	}
	for i := range w.Timeseries {
		from := &w.Timeseries[i]
		s := wireSeries{refs: 2 * len(from.Labels), labels: wireLabels(from.Labels)}
		for _, x := range from.Samples {
			s.samples = append(s.samples, wireSample{t: x.Timestamp, bits: math.Float64bits(x.Value)})
		}
		for _, x := range from.Histograms {
			s.histograms = append(s.histograms, wireSample{t: x.Timestamp, bits: math.Float64bits(x.Sum)})
		}
		for _, x := range from.Exemplars {
			s.exemplars = append(s.exemplars, wireExemplar{wireLabels(x.Labels), x.Timestamp, x.Value})
		}
		if len(s.histograms) > 0 {
			p.outside = append(p.outside, "histograms")
		}
		if len(s.exemplars) > 0 {
			p.outside = append(p.outside, "exemplars")
		}
		p.series = append(p.series, s)
	}
}

func (p *posted) readV2(w *writev2.Request) {
	p.symbols = w.Symbols
	symbol := func(ref uint32) string {
		if int(ref) >= len(w.Symbols) {
			p.undecodable = fmt.Errorf("a reference to symbol %d of %d", ref, len(w.Symbols))
			return ""
		}
		return w.Symbols[ref]
	}
	wireLabels := func(refs []uint32) (out []wireLabel) {
		if len(refs)%2 != 0 {
			p.undecodable = errors.New("a label without a value")
			return nil
		}
		for pair := range slices.Chunk(refs, 2) {
			out = append(out, wireLabel{symbol(pair[0]), symbol(pair[1])})
		}
		return out
	}
	for i := range w.Timeseries {
		from := &w.Timeseries[i]
		s := wireSeries{refs: len(from.LabelsRefs), labels: wireLabels(from.LabelsRefs), kind: int32(from.Metadata.Type)}
		s.help, s.unit = symbol(from.Metadata.HelpRef), symbol(from.Metadata.UnitRef)
		for _, x := range from.Samples {
			s.samples = append(s.samples, wireSample{x.Timestamp, x.StartTimestamp, math.Float64bits(x.Value)})
		}
		for _, x := range from.Histograms {
			s.histograms = append(s.histograms, wireSample{x.Timestamp, x.StartTimestamp, math.Float64bits(x.Sum)})
		}
		for _, x := range from.Exemplars {
			s.exemplars = append(s.exemplars, wireExemplar{wireLabels(x.LabelsRefs), x.Timestamp, x.Value})
		}
		p.series = append(p.series, s)
	}
}

// recorder stands in front of an endpoint, keeps every request, and answers in its
// place where a script says so.
type recorder struct {
	url  string
	path string

	mtx    sync.Mutex
	posts  []*posted
	script func(p *posted) *agenttest.Answer // nil: the endpoint answers
}

func newRecorder(t testing.TB, behind string) *recorder {
	t.Helper()
	u, err := url.Parse(behind)
	if err != nil {
		t.Fatal(err)
	}
	c := &recorder{path: u.Path}
	through := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: u.Scheme, Host: u.Host})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender is gone
		}
		p, answer := c.begin(r, body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		out := &answeredWriter{ResponseWriter: w, done: func(status int) { c.end(p, status, w.Header().Get("Retry-After")) }}
		if answer == nil {
			through.ServeHTTP(out, r)
			return
		}
		for name, values := range answer.Header {
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
		out.WriteHeader(answer.Status)
		_, _ = io.WriteString(out, answer.Body)
	}))
	t.Cleanup(server.Close)
	c.url = server.URL + u.Path
	return c
}

// answeredWriter tells the status before the sender can know of it.
type answeredWriter struct {
	http.ResponseWriter
	done func(status int)
}

func (w *answeredWriter) WriteHeader(status int) {
	w.done(status)
	w.ResponseWriter.WriteHeader(status)
}

func (c *recorder) begin(r *http.Request, body []byte) (*posted, *agenttest.Answer) {
	p := &posted{begun: time.Now(), method: r.Method, path: r.URL.Path, header: r.Header.Clone(), body: body}
	p.decode()
	c.mtx.Lock()
	defer c.mtx.Unlock()
	c.posts = append(c.posts, p)
	if c.script == nil {
		return p, nil
	}
	return p, c.script(p)
}

func (c *recorder) end(p *posted, status int, retryAfter string) {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	p.answered, p.status, p.retryAfter = time.Now(), status, retryAfter
}

// play forgets what is recorded, and answers by a script from now on. It is called
// with a lock held, for one request after another.
func (c *recorder) play(script func(p *posted) *agenttest.Answer) {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	c.posts, c.script = nil, script
}

// inOrder gives one answer each to the requests with samples, then leaves the others
// to the endpoint.
func inOrder(answers ...agenttest.Answer) func(*posted) *agenttest.Answer {
	return func(p *posted) *agenttest.Answer {
		if len(answers) == 0 || p.empty() {
			return nil
		}
		next := answers[0]
		answers = answers[1:]
		return &next
	}
}

// recorded are the requests with an answer, in the order in which they came.
func (c *recorder) recorded() []*posted {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	var all []*posted
	for _, p := range c.posts {
		if p.status != 0 {
			copied := *p
			all = append(all, &copied)
		}
	}
	return all
}
