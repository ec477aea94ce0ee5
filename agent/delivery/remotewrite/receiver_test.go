package remotewrite

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http/httptest"
	"strings"
	"testing"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// receiver is Prometheus with remote write enabled: its handler over its
// database, and in between a list of what the database was told and took, since
// a query does not show start timestamps and metadata.
type receiver struct {
	db    *tsdb.DB
	serve func(t testing.TB, v2 bool, body []byte) (status int, words string)
	took  map[string][]string // by series, in the order of arrival
}

func newReceiver(t testing.TB, typeAndUnitLabels bool) *receiver {
	t.Helper()
	opts := tsdb.DefaultOptions()
	opts.EnableExemplarStorage, opts.MaxExemplars = true, 10000
	db, err := tsdb.Open(t.TempDir(), slog.New(slog.DiscardHandler), nil, opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	r := &receiver{db: db, took: map[string][]string{}}
	handler := remote.NewWriteHandler(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), r,
		remoteapi.MessageTypes{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType}, typeAndUnitLabels, true)
	v1, v2 := loadEndpoint(t, "http://127.0.0.1/", ""), loadEndpoint(t, "http://127.0.0.1/", protobuf2)
	r.serve = func(t testing.TB, second bool, body []byte) (int, string) {
		t.Helper()
		e := v1
		if second {
			e = v2
		}
		req, err := e.NewRequest(t.Context(), body, 0)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, req)
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	return r
}

func (r *receiver) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return &recording{r.db.AppenderV2(ctx).(storage.ExemplarAppenderV2), r}
}

type recording struct {
	storage.ExemplarAppenderV2
	r *receiver
}

func (a *recording) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	text := fmt.Sprintf("%d-%d %s %+v", st, t, show(v, h, fh), opts.Metadata)
	ref, err := a.ExemplarAppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	if err == nil {
		a.r.took[ls.String()] = append(a.r.took[ls.String()], text)
	}
	return ref, err
}

// show tells values apart to the last bit.
func show(v float64, h *histogram.Histogram, fh *histogram.FloatHistogram) string {
	switch {
	case h != nil && value.IsStaleNaN(h.Sum), fh != nil && value.IsStaleNaN(fh.Sum):
		return "stale histogram"
	case h != nil:
		return fmt.Sprintf("int %d %s %v", h.Schema, h, h.CustomValues)
	case fh != nil:
		return fmt.Sprintf("float %d %s %v", fh.Schema, fh, fh.CustomValues)
	}
	return fmt.Sprintf("%x", math.Float64bits(v))
}

// held is what the receiver would answer to queries: samples and exemplars, by
// series.
func (r *receiver) held(t testing.TB) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	q, err := r.db.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	all := labels.MustNewMatcher(labels.MatchNotEqual, model.MetricNameLabel, "")
	set := q.Select(t.Context(), true, nil, all)
	for set.Next() {
		name := set.At().Labels().String()
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			var (
				at int64
				v  float64
				h  *histogram.Histogram
				fh *histogram.FloatHistogram
			)
			switch kind {
			case chunkenc.ValFloat:
				at, v = it.At()
			case chunkenc.ValHistogram:
				at, h = it.AtHistogram(nil)
			case chunkenc.ValFloatHistogram:
				at, fh = it.AtFloatHistogram(nil)
			}
			out[name] = append(out[name], fmt.Sprintf("%d %s", at, show(v, h, fh)))
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	maps.Copy(out, r.exemplars(t))
	return out
}

func (r *receiver) exemplars(t testing.TB) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	q, err := r.db.ExemplarQuerier(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := labels.MustNewMatcher(labels.MatchNotEqual, model.MetricNameLabel, "")
	found, err := q.Select(math.MinInt64, math.MaxInt64, []*labels.Matcher{all})
	if err != nil {
		t.Fatal(err)
	}
	for _, series := range found {
		name := "exemplars of " + series.SeriesLabels.String()
		for _, e := range series.Exemplars {
			out[name] = append(out[name], showExemplar(e))
		}
	}
	return out
}

func showExemplar(e exemplar.Exemplar) string {
	return fmt.Sprintf("%s %d %v", e.Labels, e.Ts, e.Value)
}
