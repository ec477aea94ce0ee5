package agent_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// TestRejectedOfARequest: whatever a sender drops for an answer stands in the ledger, the good
// samples beside a bad one, too.
func TestRejectedOfARequest(t *testing.T) {
	t.Parallel()
	now := time.Now()
	series := func(n int, at time.Time) []pushed { return seriesAt(at, 0, n) }
	named := func(ls ...string) []pushed { return []pushed{{labels.FromStrings(ls...), now, 1}} }
	older := now.Add(-time.Minute)
	otlp := func(what string) []byte {
		return fmt.Appendf(nil, `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"g","gauge":{"dataPoints":[{"asInt":"1","timeUnixNano":"%d"}]}},%s]}]}]}`, now.UnixNano(), what)
	}
	badHistogram, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels:     prompb.FromLabels(labels.FromStrings("__name__", "h"), nil),
		Histograms: []prompb.Histogram{prompb.FromIntHistogram(now.UnixMilli(), &histogram.Histogram{Count: 1, PositiveSpans: []histogram.Span{{Length: 2}}, PositiveBuckets: []int64{1}})},
	}}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	notText := pmetric.NewMetrics()
	gauge := notText.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	gauge.SetName("g")
	point := gauge.SetEmptyGauge().DataPoints().AppendEmpty()
	point.SetIntValue(1)
	point.SetTimestamp(pcommon.NewTimestampFromTime(now))
	point.Attributes().PutStr("a", "\xff")
	badLabel, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(notText)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		version  string // of remote write; empty: OTLP
		samples  []pushed
		body     []byte // instead
		code     int
		appended uint64
		rejected map[string]uint64
	}{
		"1.0, no name":                       {"1.0", append(named("i", "1"), series(3, now)...), nil, 204, 3, map[string]uint64{"invalid": 1}},
		"1.0, too far ahead":                 {"1.0", append(series(3, now), series(2, now.Add(time.Hour))...), nil, 400, 0, map[string]uint64{"too_far_ahead": 5}},
		"1.0, older":                         {"1.0", append(seriesAt(now, 10, 14), series(3, older)...), nil, 400, 0, map[string]uint64{"out_of_order": 1, "with_others": 6}},
		"1.0, a label that is too long":      {"1.0", append(named("__name__", "m", "l", string(make([]byte, 20_000))), series(3, now)...), nil, 400, 0, map[string]uint64{"label_too_long": 1, "with_others": 3}},
		"1.0, a histogram that is not valid": {"1.0", nil, snappy.Encode(nil, badHistogram), 400, 0, map[string]uint64{"invalid": 1}},
		"2.0, no name":                       {"2.0", append(named("i", "1"), series(3, now)...), nil, 400, 3, map[string]uint64{"invalid": 1}},
		"2.0, too far ahead":                 {"2.0", append(series(3, now), seriesAt(now.Add(time.Hour), 3, 5)...), nil, 400, 3, map[string]uint64{"too_far_ahead": 2}},
		"2.0, older":                         {"2.0", append(seriesAt(now, 10, 14), series(3, older)...), nil, 400, 4, map[string]uint64{"out_of_order": 3}},
		"OTLP, too far ahead": {"", nil, otlp(fmt.Sprintf(`{"name":"a","gauge":{"dataPoints":[{"asInt":"1","timeUnixNano":"%d"}]}}`, now.Add(time.Hour).UnixNano())), 400, 0,
			map[string]uint64{"too_far_ahead": 2}},
		"OTLP, older": {"", nil, otlp(fmt.Sprintf(`{"name":"pushed","gauge":{"dataPoints":[{"asInt":"9","attributes":[{"key":"i","value":{"stringValue":"0"}},{"key":"job","value":{"stringValue":"app"}}],"timeUnixNano":"%d"}]}}`, older.UnixNano())), 400, 0,
			map[string]uint64{"out_of_order": 1, "with_others": 1}},
		"OTLP, a label that is no text": {"", nil, badLabel, 400, 0, map[string]uint64{"invalid": 1}},
		"OTLP, a delta": {"", nil, otlp(fmt.Sprintf(`{"name":"d","sum":{"aggregationTemporality":1,"dataPoints":[{"asInt":"1","timeUnixNano":"%d"}]}}`, now.UnixNano())), 400, 0,
			map[string]uint64{"invalid": 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			r.start()
			if a := r.push("1.0", series(3, now.Add(-30*time.Second))); a.code != 204 {
				t.Fatalf("%d %q", a.code, a.body)
			}
			path, body, header := "/api/v1/otlp/v1/metrics", tc.body, http.Header{"Content-Type": {"application/json"}}
			if bytes.Equal(body, badLabel) {
				header.Set("Content-Type", "application/x-protobuf")
			}
			if tc.version != "" {
				path, header = "/api/v1/write", http.Header{"Content-Type": {typeV1}, "Content-Encoding": {"snappy"}}
				if tc.version == "2.0" {
					header.Set("Content-Type", typeV2)
				}
				if body == nil {
					body = encode(tc.version, tc.samples)
				}
			}
			a, err := r.post(path, body, header)
			if err != nil {
				t.Fatal(err)
			}
			if a.code != tc.code {
				t.Errorf("%d %q", a.code, a.body)
			}
			r.eventually("the ledger", func() error {
				if l := r.destination("one").Ledger; l.Appended != 3+tc.appended || l.Delivered != l.Appended || !maps.Equal(l.Rejected, tc.rejected) {
					return fmt.Errorf("%+v", l)
				}
				return nil
			})
		})
	}
}

// TestReceivedAtOnce: of several requests at once that begin the same series, each that is
// answered with 2xx is delivered: no sample comes before its series in the WAL.
func TestReceivedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.start()
	begin := time.Now()
	var taken atomic.Uint64
	push := func(samples []pushed) {
		if a := r.push("1.0", samples); a.code == 204 {
			taken.Add(uint64(len(samples)))
		}
	}
	for round := range 3 {
		from := round * 20_000
		var done atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() { // each series once: most when the other request has it, and is not in the WAL yet
			for i := from; !done.Load() && i < from+20_000; i++ {
				push(seriesAt(begin.Add(-time.Second), i, i+1))
			}
		})
		push(seriesAt(begin, from, from+20_000))
		done.Store(true)
		wg.Wait()
	}
	r.eventually("what was answered with 2xx to be delivered", func() error {
		if l := r.destination("one").Ledger; l.Delivered != taken.Load() || l.Delivered != l.Appended || ledger.Total(l.Uncertain) != 0 {
			return fmt.Errorf("%d taken: %+v", taken.Load(), l)
		}
		return nil
	})
}

// TestRepeatedIsSynced: who sends again what was not known to be on the disk is not told that
// it is, before it is.
func TestRepeatedIsSynced(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.Receive.Sync, r.options.Receive.FailingSyncs = true, 2
	r.start()
	samples := seriesAt(time.Now(), 0, 3)
	for i, code := range []int{503, 503, 204} {
		if a := r.push("1.0", samples); a.code != code {
			t.Errorf("time %d: %d %q", i, a.code, a.body)
		}
	}
	r.awaitPushed(samples)
}

// TestTenantIsText: a tenant that no endpoint would store is refused.
func TestTenantIsText(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.Receive.TenantLabel = "tenant"
	r.start()
	if a := r.pushAs("\xff", "1.0", seriesAt(time.Now(), 0, 1)); a.code != 400 {
		t.Errorf("%d %q", a.code, a.body)
	}
}

// TestSentAgain: a request that comes once more is answered as before, and changes nothing: its
// older samples are not refused for its newer ones.
func TestSentAgain(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1.0", "2.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			r.start()
			now := time.Now()
			samples := append(seriesAt(now, 0, 3), seriesAt(now.Add(time.Second), 0, 3)...)
			first := r.push(version, samples)
			again := r.push(version, samples)
			first.header.Del("Date")
			again.header.Del("Date")
			if first.code != 204 || again.code != 204 || fmt.Sprint(first) != fmt.Sprint(again) {
				t.Errorf("%v, and then %v", first, again)
			}
			r.eventually("the ledger", func() error {
				if l := r.destination("one").Ledger; l.Appended != 6 || l.Delivered != 6 || ledger.Total(l.Rejected) != 0 {
					return fmt.Errorf("%+v", l)
				}
				return nil
			})
			if s := r.senders(); len(s) != 1 || s[0].Job != "app" || s[0].Requests != 2 || s[0].Samples != 6 {
				t.Errorf("%+v", s)
			}
		})
	}
}
