package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/limits"
)

// offer appends one sample of a series that the caller has no reference of.
func (r *rig) offer(app storage.AppenderV2, ls labels.Labels, at time.Time, o storage.AppendV2Options) error {
	_, err := app.Append(0, ls, 0, at.UnixMilli(), 1, nil, nil, o)
	return err
}

// TestMaxSeries: above the ceiling new series are dropped and counted, with the
// target that brings them; those that exist keep flowing, and so does what the
// scrape loop itself says of a target.
func TestMaxSeries(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.Limits.MaxSeries = 160
	r.open()
	r.awaitState("one", Live)
	r.scrape(120, r.next())

	at := r.next()
	r.scrape(120, at) // with the references of the first scrape
	app := r.append.AppenderV2(t.Context())
	for i := range 15 {
		hog := labels.FromStrings("__name__", "hog", "i", strconv.Itoa(i), "job", "j", "instance", "k:1")
		// Ten are what every target gets.
		if err := r.offer(app, hog, at, storage.AppendV2Options{}); errors.Is(err, storage.ErrDuplicateSampleForTimestamp) != (i >= 10) {
			t.Fatalf("series %d above the ceiling: %v", i, err)
		}
	}
	// Known, but without a reference: as after a reload.
	old := labels.FromStrings("__name__", "m", "i", "3")
	if err := r.offer(app, old, at.Add(time.Millisecond), storage.AppendV2Options{}); err != nil {
		t.Errorf("a series that exists: %v", err)
	}
	up := labels.FromStrings("__name__", "up", "job", "j", "instance", "k:1")
	if err := r.offer(app, up, at, storage.AppendV2Options{MetricFamilyName: "up\xff"}); err != nil {
		t.Errorf("the target's own series: %v", err)
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	l := r.awaitSettled("one")
	if l.Rejected["max_series"] != 5 || l.Appended != 252 || l.Delivered != 252 {
		t.Errorf("%+v", l)
	}
	s := r.delivery.Limits()
	if s.Series != 131 || s.MaxSeries != 160 || s.Dropped["max_series"] != 5 || fmt.Sprint(s.Worst) != "map[max_series:[j/k:1 (5)]]" {
		t.Errorf("%+v", s)
	}
	if !r.delivery.Dropping() {
		t.Error("not dropping")
	}
	reg := prometheus.NewPedanticRegistry()
	_, c := r.delivery.Collectors()
	reg.MustRegister(c)
	if _, err := reg.Gather(); err != nil {
		t.Error(err)
	}
}

// TestMaxSeriesAtOnce: targets that come at the same moment do not pass the
// ceiling together.
func TestMaxSeriesAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.Limits.MaxSeries = 100
	r.open()
	at := r.next()
	var wg sync.WaitGroup
	for target := range 8 {
		wg.Go(func() {
			app := r.append.AppenderV2(t.Context())
			for i := range 50 {
				_ = r.offer(app, labels.FromStrings("__name__", "m", "i", strconv.Itoa(i), "instance", strconv.Itoa(target)), at, storage.AppendV2Options{})
			}
			if err := app.Commit(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	l := r.awaitSettled("one")
	if s := r.delivery.Limits(); s.Series < 75 || s.Series > 100 || l.Appended != s.Series || l.Rejected["max_series"] != 400-l.Appended {
		t.Errorf("%d series, %+v", s.Series, l)
	}
}

// TestShedding: near the memory's limit no new series comes into being, but for
// those of small targets.
func TestShedding(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.Limits.MaxSeries = 32
	r.open()
	r.scrape(3, r.next())
	r.press(ShedSeries)
	app := r.append.AppenderV2(t.Context())
	for i, c := range []struct {
		ls    labels.Labels
		taken bool
	}{
		{labels.FromStrings("__name__", "late", "i", "1"), true}, // two samples are a small target
		{labels.FromStrings("__name__", "late", "i", "2"), true},
		{labels.FromStrings("__name__", "late", "i", "3"), false},
		{labels.FromStrings("__name__", "m", "i", "1"), true}, // is there
	} {
		if err := r.offer(app, c.ls, r.next(), storage.AppendV2Options{}); errors.Is(err, storage.ErrDuplicateSampleForTimestamp) == c.taken {
			t.Errorf("series %d: %v", i, err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	if l := r.awaitSettled("one"); l.Rejected["memory"] != 1 || l.Delivered != 6 {
		t.Errorf("%+v", l)
	}
}

// TestSheddingBelowAnyCeiling: a ceiling that is far too high for the memory does
// not make a large target a small one.
func TestSheddingBelowAnyCeiling(t *testing.T) {
	t.Parallel()
	for _, ceiling := range []uint64{0, 10_000_000} {
		r := newRig(t, agenttest.Manners{})
		r.options.Limits.MaxSeries = ceiling
		r.open()
		r.press(ShedSeries)
		at := r.next()
		app := r.append.AppenderV2(t.Context())
		for i := range 2 * limits.AnyHost {
			_ = r.offer(app, labels.FromStrings("__name__", "m", "i", strconv.Itoa(i)), at, storage.AppendV2Options{})
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
		if l := r.awaitSettled("one"); l.Rejected["memory"] != limits.AnyHost || l.Delivered != limits.AnyHost {
			t.Errorf("ceiling %d: %+v", ceiling, l)
		}
	}
}

// TestLongLabels: one series of a scrape that is too large costs itself only.
func TestLongLabels(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	at := r.next()
	app := r.append.AppenderV2(t.Context())
	if err := r.offer(app, labels.FromStrings("__name__", "m", "huge", strings.Repeat("x", 1<<20)), at, storage.AppendV2Options{}); !errors.Is(err, storage.ErrDuplicateSampleForTimestamp) {
		t.Errorf("%v", err)
	}
	r.add(app, labels.FromStrings("__name__", "m"), at, 1)
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	if l := r.awaitSettled("one"); l.Rejected["label_too_long"] != 1 || l.Delivered != 1 {
		t.Errorf("%+v", l)
	}
}

// TestDropsEpisode: what is dropped is logged when it begins and when it is over,
// whatever the number of scrapes; and no number of targets takes the memory.
func TestDropsEpisode(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	d := newDrops(log.NewLogfmtLogger(&logged))
	now := time.Now()
	for range 10 {
		d.add("max_series", targetName{"j", "a"}, 3, now)
		d.add("max_series", targetName{"j", "b"}, 1, now)
		now = now.Add(time.Minute)
		d.tick(now)
	}
	want := `level=warn msg="Series are dropped because of a limit" limit=max_series samples=4 worst="[j/a (3) j/b (1)]"` + "\n"
	if logged.String() != want {
		t.Errorf("%s", logged.String())
	}
	logged.Reset()
	d.begin("memory", now) // and was not committed
	d.tick(now)
	if _, worst := d.now(); !d.going() || worst["memory"] != nil {
		t.Errorf("%v", worst)
	}
	d.tick(now.Add(time.Hour))
	want = `level=info msg="No more series are dropped because of a limit" limit=max_series samples=40 worst="[j/a (30) j/b (10)]"` + "\n"
	if logged.String() != want || d.going() {
		t.Errorf("%s", logged.String())
	}
	for i := range 3 * maxOffenders {
		d.add("memory", targetName{"j", strconv.Itoa(i)}, 1, now)
	}
	if total, worst := d.now(); len(d.episodes["memory"].byTarget) > maxOffenders+1 || total["memory"] != 3*maxOffenders || total["max_series"] != 40 || worst["memory"][0].Dropped < maxOffenders {
		t.Errorf("%v %v", total, worst)
	}
}

// TestOffendersName: a name from outside is whole text, and not long.
func TestOffendersName(t *testing.T) {
	t.Parallel()
	got := nameOf(labels.FromStrings("job", strings.Repeat("ä", 500), "instance", "a\xff"))
	if len(got.job) > 210 || !strings.HasPrefix(got.job, "ää") || got.instance != "a" {
		t.Errorf("%q", got)
	}
}

// panics is a storage that panics.
type panics struct{}

func (panics) AppenderV2(context.Context) storage.AppenderV2 { return panicking{} }

type panicking struct{}

func (panicking) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AppendV2Options) (storage.SeriesRef, error) {
	panic("a bomb")
}
func (panicking) Commit() error   { panic("a bomb") }
func (panicking) Rollback() error { return nil }

// TestPanicIsAnError: upstream's storage may panic on what one target sends.
func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.open()
	r.delivery.intake.next = panics{}
	app := r.append.AppenderV2(t.Context())
	for _, err := range []error{r.offer(app, labels.FromStrings("a", "b"), time.Now(), storage.AppendV2Options{}), app.Commit()} {
		if err == nil || !strings.Contains(err.Error(), "a bomb") {
			t.Errorf("%v", err)
		}
	}
	select {
	case <-r.delivery.Failure():
	default:
		t.Error("a commit that panicked did not ask for a new run")
	}
	// The lock is free.
	if err := app.Rollback(); err != nil {
		t.Error(err)
	}
	r.delivery.intake.newcomers.mtx.Lock()
	defer r.delivery.intake.newcomers.mtx.Unlock()
}
