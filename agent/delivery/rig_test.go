package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	agentdb "github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/upstreamqueue"
	"github.com/opstrace/opstrace-agent/agent/limits"
)

// rig is a delivery over a real WAL, to real endpoints, without scraping: the
// test appends what it likes.
type rig struct {
	t         testing.TB
	dir       string
	options   Options
	store     backlog.Options
	global    string
	endpoints map[string]*agenttest.Endpoint
	queue     string            // queue_config of all entries
	extra     map[string]string // further lines of remote_write entries, by name
	urls      map[string]string // of endpoints that are reached through something else, by name
	timeout   string            // remote_timeout of all entries
	authorize string            // lines of all entries instead of the token

	backlog      *backlog.Store
	storeMetrics *prometheus.Registry
	delivery     *Delivery
	db           *agentdb.DB
	append       storage.AppendableV2
	refs         map[string]storage.SeriesRef
	stopRun      func()
	last         time.Time     // of the samples appended so far
	live         atomic.Uint64 // percent of the memory
	upstreamLog  slog.Handler  // nil: nobody reads it
	log          log.Logger    // nil: nobody reads it
	wentBack     time.Time     // what TimeWentBack is told; zero: nothing
	atClose      func() error  // what is done before the WAL is closed, after delivery; nil: nothing
}

// newRig has one destination, "one"; nothing is open yet.
func newRig(t testing.TB, manners agenttest.Manners) *rig {
	t.Helper()
	r := &rig{
		t: t, dir: t.TempDir(),
		options: Options{MaxLiveLag: 20 * time.Second, MinStay: 100 * time.Millisecond, SaveInterval: time.Second, ForgetAfter: time.Hour, Limits: limits.From(0)},
		store:   backlog.Options{SegmentSize: 64 << 10, MaxBytes: 256 << 20, MinFreeBytes: 1},
		queue:   "    queue_config: {batch_send_deadline: 100ms, min_backoff: 10ms, max_backoff: 50ms, max_samples_per_send: 500, capacity: 2500}\n",
		timeout: "5s", extra: map[string]string{}, endpoints: map[string]*agenttest.Endpoint{},
	}
	r.addDestination("one", manners)
	return r
}

func (r *rig) addDestination(name string, manners agenttest.Manners) *agenttest.Endpoint {
	r.t.Helper()
	e, err := agenttest.NewEndpoint(agenttest.Options{Manners: manners, PlainHTTP: true})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(e.Close)
	r.endpoints[name] = e
	return e
}

// receivers are all manners.
var receivers = map[string]agenttest.Manners{
	"Cortex":                  {},
	"Prometheus":              {AllOrNothing: true},
	"the storage of an agent": {AllOrNothing: true, RefuseAgain: true},
}

// allOrNothing are receivers that store nothing of a request that they refuse.
var allOrNothing = map[string]agenttest.Manners{
	"Prometheus":              receivers["Prometheus"],
	"the storage of an agent": receivers["the storage of an agent"],
}

func (r *rig) one() *agenttest.Endpoint { return r.endpoints["one"] }

// config of all destinations.
func (r *rig) config() *config.Config {
	r.t.Helper()
	c := "global:\n  scrape_interval: 1s\n" + r.global + "\nremote_write:\n"
	for name, e := range r.endpoints {
		url := e.URL()
		if through := r.urls[name]; through != "" {
			url = through
		}
		c += fmt.Sprintf(`  - name: %s
    url: %s
%s
    remote_timeout: %s
%s    metadata_config: {send: false}
%s`, name, url, cmp.Or(r.authorize, "    authorization: {credentials: "+agenttest.DefaultToken+"}"), r.timeout, r.queue, r.extra[name])
	}
	cfg, err := config.Load(c, slog.New(slog.DiscardHandler))
	if err != nil {
		r.t.Fatalf("%v\n%s", err, c)
	}
	return cfg
}

// open opens backlog, WAL and delivery, and applies the configuration.
func (r *rig) open() {
	r.t.Helper()
	saved, err := ledger.Load(r.dir)
	if err != nil {
		r.t.Log(err)
	}
	logger := log.NewNopLogger()
	if r.log != nil {
		logger = r.log
	}
	if testing.Verbose() {
		logger = log.NewLogfmtLogger(log.NewSyncWriter(os.Stderr))
	}
	slogger := slog.New(slog.DiscardHandler)
	if r.upstreamLog != nil {
		slogger = slog.New(r.upstreamLog)
	}
	o := r.store
	o.Dir, o.MinGeneration, o.Logger = r.dir, saved.Generation+1, logger
	r.storeMetrics = prometheus.NewRegistry()
	o.Registerer = r.storeMetrics
	o.OnEvict = func(to backlog.Position) { r.delivery.Evict(to) }
	o.LiveSegment = func() int { return r.delivery.LiveSegment() }
	o.Delivered = func() backlog.Position { return r.delivery.Delivered() }
	if r.backlog, err = backlog.Open(o); err != nil {
		r.t.Fatal(err)
	}
	if err := upstreamqueue.CreateFirstSegment(r.dir); err != nil {
		r.t.Fatal(err)
	}
	d := r.options
	d.Dir, d.Store, d.Saved, d.Logger, d.Slogger = r.dir, r.backlog, saved, logger, slogger
	if r.delivery, err = New(d); err != nil {
		r.t.Fatal(err)
	}
	r.delivery.memory.inUse = func() (live, limit uint64) { return r.live.Load(), 100 }
	r.delivery.memory.look(time.Now())
	opts := agentdb.DefaultOptions()
	opts.WALSegmentSize = r.backlog.SegmentSize()
	opts.WALCompression = compression.Snappy
	opts.StripeSize = 64
	opts.NoLockfile = true
	opts.EnableSTStorage = true
	opts.EnableMetadataWALRecords = true
	reg := prometheus.NewRegistry()
	if r.db, err = agentdb.Open(slogger, reg, r.delivery.Remote(), r.dir, opts); err != nil {
		r.t.Fatal(err)
	}
	r.db.SetWriteNotified(r.delivery)
	if !r.wentBack.IsZero() {
		r.delivery.TimeWentBack(r.wentBack)
	}
	r.refs = map[string]storage.SeriesRef{}
	if r.append, err = r.delivery.Appendable(r.db, reg); err != nil {
		r.t.Fatal(err)
	}
	r.apply()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = r.backlog.Run(ctx) })
	running.Go(func() { _ = r.delivery.Run(ctx) })
	r.stopRun = func() { cancel(); running.Wait() }
	r.t.Cleanup(r.close)
}

// press uses so much memory that a stage is reached.
func (r *rig) press(stage Pressure) {
	r.live.Store(stages[stage].begin + 1)
	r.delivery.memory.look(time.Now())
}

func (r *rig) apply() {
	r.t.Helper()
	p, err := Prepare(r.config())
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.delivery.Apply(p); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) close() {
	if r.delivery == nil {
		return
	}
	r.stopRun()
	before := func() error { return nil }
	if r.atClose != nil {
		before, r.atClose = r.atClose, nil
	}
	for _, err := range []error{r.delivery.Close(), before(), r.db.Close(), r.backlog.Close()} {
		if err != nil {
			r.t.Error(err)
		}
	}
	r.delivery = nil
}

// crash ends as a kill does: what the directory holds at this moment is what the
// next open finds.
func (r *rig) crash() {
	r.t.Helper()
	image := r.copyDir()
	r.close()
	r.dir = image
}

// copyDir copies the directory as it is at this moment, without the lock.
func (r *rig) copyDir() (image string) {
	r.t.Helper()
	r.eventually("nothing to be removed meanwhile", func() error {
		image = r.t.TempDir()
		return os.CopyFS(image, os.DirFS(r.dir))
	})
	_ = os.Remove(filepath.Join(image, "lock"))
	return image
}

// saved is what delivery.json has.
func (r *rig) saved() ledger.File {
	r.t.Helper()
	saved, err := ledger.Load(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	return saved
}

// crashInOutage leaves scrapes of 20 series of which the first are stored and the
// last are not, by a run that was killed, and opens the next one.
func (r *rig) crashInOutage() {
	r.t.Helper()
	r.endInOutage()
	r.open()
}

// endInOutage is crashInOutage before the next run is opened.
func (r *rig) endInOutage() {
	r.t.Helper()
	r.scrapes(3, 20)
	r.awaitSettled("one")
	r.one().Respond(agenttest.Answer{Status: 503})
	r.scrapes(5, 20)
	r.crash()
	r.pass()
	r.one().Recover()
}

// seriesOf are the labels of the i-th series of a scrape.
func seriesOf(i int) labels.Labels {
	return labels.FromStrings("__name__", "m", "i", strconv.Itoa(i))
}

// scrape appends a sample of each of n series at a time, and commits.
func (r *rig) scrape(n int, t time.Time) {
	r.t.Helper()
	app := r.append.AppenderV2(r.t.Context())
	for i := range n {
		r.add(app, seriesOf(i), t, rand.Float64())
	}
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) add(app storage.AppenderV2, ls labels.Labels, t time.Time, v float64) {
	r.t.Helper()
	ref, err := app.Append(r.refs[ls.String()], ls, 0, t.UnixMilli(), v, nil, nil, storage.AppendV2Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.refs[ls.String()] = ref
}

// scrapes appends n scrapes of as many series, a millisecond apart. Their time is
// a little ahead of the clock, so that it is surely behind the start of a queue
// that is live by now.
func (r *rig) scrapes(n, series int) {
	r.t.Helper()
	for range n {
		r.scrape(series, r.next())
	}
}

// next is the time of the next scrape.
func (r *rig) next() time.Time {
	r.last = r.last.Add(time.Millisecond)
	if ahead := time.Now().Add(150 * time.Millisecond); ahead.After(r.last) {
		r.last = ahead
	}
	return r.last
}

// goBehind makes a live destination go behind, where it stays as long as its
// endpoint answers 401. All that was appended so far lies in the past then, so
// that no queue that starts later sends it again.
func (r *rig) goBehind(name string) {
	r.t.Helper()
	r.endpoints[name].Respond(agenttest.Answer{Status: 401, Body: "bad authentication token"})
	r.scrapes(1, 1)
	r.eventually(name+" to go behind", func() error {
		r.delivery.Notify() // as every scrape does; a watcher may have missed the last
		if s := r.status(name); s.State != Behind {
			return fmt.Errorf("it is %q, last error %q", s.State, s.LastError)
		}
		return nil
	})
}

// pass waits until all that was appended so far lies in the past.
func (r *rig) pass() {
	r.t.Helper()
	r.eventually("the clock to pass", func() error {
		if time.Now().Before(r.last.Add(5 * time.Millisecond)) {
			return errors.New("not yet")
		}
		return nil
	})
}

func (r *rig) status(name string) Status {
	r.t.Helper()
	for _, s := range r.delivery.Status() {
		if s.Name == name {
			if s.Ledger.Appended != s.Ledger.Sum() {
				r.t.Errorf("the ledger does not add up: %+v", s.Ledger)
			}
			return s
		}
	}
	return Status{}
}

const patience = 60 * time.Second

func (r *rig) eventually(what string, ok func() error) {
	r.t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	r.t.Fatalf("waiting for %s: %v", what, err)
}

func (r *rig) awaitTrue(what string, is *atomic.Bool) {
	r.t.Helper()
	r.eventually(what, func() error {
		if !is.Load() {
			return errors.New("not yet")
		}
		return nil
	})
}

func (r *rig) awaitState(name string, want State) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%s to be %s", name, want), func() error {
		if s := r.status(name); s.State != want {
			return fmt.Errorf("it is %q, %q, last error %q", s.State, s.Why, s.LastError)
		}
		return nil
	})
}

// awaitSettled waits until nothing of what was appended is left on disk, and
// returns the ledger.
func (r *rig) awaitSettled(name string) ledger.Terms {
	r.t.Helper()
	var s Status
	r.eventually(name+" to have everything", func() error {
		r.delivery.Notify() // as every scrape does; a watcher may have missed the last
		if s = r.status(name); s.Ledger.OnDisk > 0 || s.Counting {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	return s.Ledger
}
