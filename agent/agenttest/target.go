package agenttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"
)

// TargetOptions are what a target exposes, each series beside the label target
// with the label series, and how it behaves. Every value tells the scrape: a
// counter or a histogram's count is the ordinal of the scrape, a gauge is the
// ordinal and a fraction.
type TargetOptions struct {
	// Series of agenttest_gauge; 10,000 make a body of about a megabyte.
	// Taken away at run time they vanish, with stale markers.
	Series int
	// Churn is how many series of agenttest_churn each scrape shows that no
	// other scrape shows.
	Churn int
	// Explicit are series of agenttest_explicit with a timestamp this far from
	// the time of the scrape.
	Explicit []time.Duration
	// Histograms, FloatHistograms and ClassicHistograms are series of
	// agenttest_histogram, agenttest_float_histogram and
	// agenttest_classic_histogram. The first two are native in the protobuf
	// format (scrape_native_histograms: true); in the others the first is an
	// empty classic one and the second is left out. The last become native
	// with custom buckets by convert_classic_histograms_to_nhcb.
	Histograms, FloatHistograms, ClassicHistograms int
	// Exemplars puts one with the ordinal as trace_id on the counter and on
	// the first histogram of each metric; of further native ones upstream's
	// parser reads none. The text format has no exemplars.
	Exemplars bool
	// Hostile adds agenttest_hostile with label values that need escaping.
	Hostile bool
	// Wide adds agenttest_wide with 31 labels, one more than Opstrace takes.
	Wide bool
	// Delay is waited for before the response.
	Delay time.Duration
	// Answer may take a scrape over: if it returns true, it has written the
	// response. Such a scrape has an ordinal and is not answered.
	Answer func(w http.ResponseWriter, r *http.Request, ordinal int64) bool
}

// ScrapesMetric is the counter whose value is the ordinal of the scrape.
const ScrapesMetric = "agenttest_scrapes_total"

// Scrape is one scrape that was answered: its scraper has read the response to
// its end, and has come back for the next one, which Prometheus does when it has
// committed the last. A scrape that it gave up in time to close the connection,
// or before which it was stopped or killed, is not answered: nobody knows whether
// it was committed. A scraper that asks for the connection to be closed has its
// scrape answered as soon as the response is written.
type Scrape struct {
	Ordinal int64 // from 1
	// At is when the response had been written.
	At time.Time
}

// Target is one fake target. One scraper at a time makes sense of it.
type Target struct {
	Name string

	mu       sync.Mutex
	options  TargetOptions
	families families
	scrapes  int64
	answered []Scrape
	more     chan struct{} // closed and replaced at every answered scrape
	written  *written      // the last scrape, while it is not known whether it is answered
}

// written is a scrape whose response has been written, as the n-th of its connection.
type written struct {
	Scrape

	conn *scraperConn
	n    int64
}

// Update changes what the target exposes from the next scrape on.
func (t *Target) Update(change func(*TargetOptions)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.options)
	t.families = buildFamilies(t.Name, t.options)
}

// Answered returns the scrapes that were answered, in order.
func (t *Target) Answered() []Scrape {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clip(t.answered)
}

// begun is how many scrapes the target has seen, answered or not.
func (t *Target) begun() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.scrapes
}

// Await waits until n scrapes in all were answered.
func (t *Target) Await(ctx context.Context, n int) error {
	for {
		t.mu.Lock()
		got, more := len(t.answered), t.more
		t.mu.Unlock()
		if got >= n {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("target %s: %w after %d of %d scrapes", t.Name, ctx.Err(), got, n)
		}
	}
}

// settle decides about the last scrape when the next has come. It is called with
// the lock held.
func (t *Target) settle() {
	if last := t.written; last != nil && last.conn.kept(last.n) {
		t.answer(last.Scrape)
	}
	t.written = nil
}

// answer is called with the lock held.
func (t *Target) answer(s Scrape) {
	t.answered = append(t.answered, s)
	close(t.more)
	t.more = make(chan struct{})
}

func (t *Target) serve(w http.ResponseWriter, r *http.Request, closing <-chan struct{}) {
	conn := scraperConnOf(r)
	n := conn.requests.Add(1)
	t.mu.Lock()
	t.settle()
	t.scrapes++
	ordinal, options := t.scrapes, t.options
	t.mu.Unlock()
	if options.Delay > 0 {
		select {
		case <-time.After(options.Delay):
		case <-r.Context().Done():
			return
		case <-closing:
			panic(http.ErrAbortHandler) // a mere return would be an empty exposition
		}
	}
	if options.Answer != nil && options.Answer(w, r, ordinal) {
		return
	}
	format := expfmt.NegotiateAccept(r.Header,
		expfmt.NewFormat(expfmt.TypeOpenMetrics), expfmt.NewFormat(expfmt.TypeProtoDelim), expfmt.NewFormat(expfmt.TypeTextPlain))
	t.mu.Lock()
	body, err := t.families.encode(format, ordinal, time.Now())
	t.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", string(format))
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	last := body.Len() - 1
	if _, err := w.Write(body.Bytes()[:last]); err != nil {
		return
	}
	// The last byte goes out with the lock held, so that a scraper which has
	// it all is never ahead of the record, when it comes back.
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.Context().Err() != nil {
		return
	}
	if _, err := w.Write(body.Bytes()[last:]); err != nil {
		return
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		return
	}
	scrape := Scrape{Ordinal: ordinal, At: time.Now()}
	if r.Close {
		t.answer(scrape)
	} else {
		t.written = &written{scrape, conn, n}
	}
}

// encode is called with the target's lock held.
func (f *families) encode(format expfmt.Format, ordinal int64, now time.Time) (*bytes.Buffer, error) {
	f.set(ordinal, now)
	body := bytes.NewBuffer(make([]byte, 0, f.size))
	encoder := expfmt.NewEncoder(body, format)
	for _, family := range f.all {
		if format.FormatType() != expfmt.TypeProtoDelim && isFloatHistogram(family) {
			continue // no other format has them
		}
		if err := encoder.Encode(family); err != nil {
			return nil, fmt.Errorf("cannot encode %s: %w", family.GetName(), err)
		}
	}
	if closer, ok := encoder.(expfmt.Closer); ok {
		if err := closer.Close(); err != nil {
			return nil, fmt.Errorf("cannot end the exposition: %w", err)
		}
	}
	f.size = body.Len() + body.Len()/8
	return body, nil
}

// Targets is one HTTP server with any number of targets at /t/<name>/metrics,
// the first of them at /metrics too, and a list for http_sd_configs at /sd.
type Targets struct {
	closeOnce sync.Once

	server   *http.Server
	addr     string
	closing  chan struct{}
	handlers sync.WaitGroup

	mu      sync.Mutex
	targets []*Target
}

// NewTargets listens on addr, host:port. Close it.
func NewTargets(addr string) (*Targets, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot start targets: %w", err)
	}
	s := &Targets{addr: listener.Addr().String(), closing: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /t/{name}/metrics", func(w http.ResponseWriter, r *http.Request) {
		s.scrape(w, r, s.find(r.PathValue("name")))
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		s.scrape(w, r, s.find(""))
	})
	mux.HandleFunc("GET /sd", s.discover)
	s.server = &http.Server{Handler: mux, ConnContext: withScraperConn, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	s.handlers.Go(func() { _ = s.server.Serve(listener) })
	return s, nil
}

// Addr is host:port.
func (s *Targets) Addr() string { return s.addr }

// URL is where a target is scraped.
func (s *Targets) URL(t *Target) string { return "http://" + s.addr + metricsPath(t.Name) }

func metricsPath(name string) string { return "/t/" + name + "/metrics" }

// Add starts a target. Its name must be unique and fit into a path and a label
// value without escaping.
func (s *Targets) Add(name string, o TargetOptions) *Target {
	t := &Target{Name: name, options: o, families: buildFamilies(name, o), more: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets = append(s.targets, t)
	return t
}

// Remove takes a target away: it leaves the discovery, and is answered 404.
func (s *Targets) Remove(t *Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets = slices.DeleteFunc(s.targets, func(o *Target) bool { return o == t })
}

// List returns the targets in the order in which they were added.
func (s *Targets) List() []*Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.targets)
}

func (s *Targets) find(name string) *Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.targets {
		if name == "" || t.Name == name {
			return t
		}
	}
	return nil
}

func (s *Targets) scrape(w http.ResponseWriter, r *http.Request, t *Target) {
	if t == nil {
		http.NotFound(w, r)
		return
	}
	t.serve(w, r, s.closing)
}

func (s *Targets) discover(w http.ResponseWriter, _ *http.Request) {
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	groups := []group{}
	for _, t := range s.List() {
		groups = append(groups, group{
			Targets: []string{s.addr},
			Labels:  map[string]string{"__metrics_path__": metricsPath(t.Name), "instance": t.Name},
		})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(groups)
}

// ScrapeConfig is an entry of scrape_configs, in YAML and indented by two, that
// has the present targets as static ones with their names as instance. More
// settings can be appended, indented by four.
func (s *Targets) ScrapeConfig(job string, interval time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  - job_name: %s\n    scrape_interval: %dms\n    scrape_timeout: %[2]dms\n    static_configs:\n",
		job, interval.Milliseconds())
	for _, t := range s.List() {
		fmt.Fprintf(&b, "      - targets: ['%s']\n        labels: {__metrics_path__: %s, instance: %s}\n",
			s.addr, metricsPath(t.Name), t.Name)
	}
	return b.String()
}

// Close ends every connection.
func (s *Targets) Close() {
	s.closeOnce.Do(func() { close(s.closing) })
	if err := s.server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return
	}
	s.handlers.Wait()
}
