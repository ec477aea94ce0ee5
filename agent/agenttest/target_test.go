package agenttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/stretchr/testify/require"
)

func startTargets(t testing.TB) *Targets {
	t.Helper()
	s, err := NewTargets("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

const (
	acceptText        = "text/plain;version=0.0.4"
	acceptOpenMetrics = "application/openmetrics-text;version=1.0.0"
	acceptProtobuf    = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// exposed is what upstream's parsers read in an exposition.
type exposed struct {
	labels    labels.Labels
	time      *int64
	value     float64
	h         *histogram.Histogram
	fh        *histogram.FloatHistogram
	exemplars []exemplar.Exemplar
}

func get(t testing.TB, url, accept string) (int, string, []byte) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Accept", accept)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header.Get("Content-Type"), body
}

func scrapeTarget(t testing.TB, url, accept string, nhcb bool) map[string]exposed {
	t.Helper()
	status, contentType, body := get(t, url, accept)
	require.Equal(t, 200, status, "%s", body)
	p, err := textparse.New(body, contentType, nil, textparse.ParserOptions{ConvertClassicHistogramsToNHCB: nhcb})
	require.NoError(t, err)
	found := map[string]exposed{}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err)
		var e exposed
		switch entry {
		case textparse.EntrySeries:
			_, e.time, e.value = p.Series()
		case textparse.EntryHistogram:
			_, e.time, e.h, e.fh = p.Histogram()
		default:
			continue
		}
		if e.time != nil {
			e.time = new(*e.time) // the parser's own
		}
		p.Labels(&e.labels)
		for ex := (exemplar.Exemplar{}); p.Exemplar(&ex); ex = (exemplar.Exemplar{}) {
			e.exemplars = append(e.exemplars, ex)
		}
		key := e.labels.Get("__name__")
		if series := e.labels.Get("series"); series != "" {
			key += "/" + series
		}
		found[key] = e
	}
}

func TestExpositions(t *testing.T) {
	s := startTargets(t)
	target := s.Add("t0", TargetOptions{
		Series: 3, Churn: 2, Explicit: []time.Duration{-10 * time.Minute, 9 * time.Minute}, Histograms: 1,
		FloatHistograms: 1, ClassicHistograms: 1, Exemplars: true, Hostile: true, Wide: true,
	})
	for i, accept := range []string{acceptText, acceptOpenMetrics, acceptProtobuf} {
		ordinal := float64(i + 1)
		now := time.Now()
		found := scrapeTarget(t, s.URL(target), accept, false)
		require.Equal(t, ordinal, found[ScrapesMetric].value, accept)
		require.Equal(t, `{__name__="agenttest_scrapes_total", target="t0"}`, found[ScrapesMetric].labels.String())
		require.Equal(t, ordinal+2*gaugeStep, found["agenttest_gauge/00002"].value)
		require.Contains(t, found, fmt.Sprintf("agenttest_churn/%d-1", i+1))
		require.InDelta(t, now.Add(-10*time.Minute).UnixMilli(), *found["agenttest_explicit/-10m0s"].time, 5000)
		require.InDelta(t, now.Add(9*time.Minute).UnixMilli(), *found["agenttest_explicit/9m0s"].time, 5000)
		require.Equal(t, 31, found["agenttest_wide/00000"].labels.Len())
		for j, v := range hostileValues {
			require.Equal(t, v, found[fmt.Sprintf("agenttest_hostile/%05d", j)].labels.Get("value"))
		}
		if accept != acceptText {
			require.Len(t, found[ScrapesMetric].exemplars, 1)
			require.Equal(t, fmt.Sprint(ordinal), found[ScrapesMetric].exemplars[0].Labels.Get("trace_id"))
		}
		if accept == acceptProtobuf {
			h, fh := found["agenttest_histogram/00000"], found["agenttest_float_histogram/00000"]
			require.EqualValues(t, ordinal, h.h.Count)
			require.NoError(t, h.h.Validate())
			require.Equal(t, ordinal, fh.fh.Count)
			require.NoError(t, fh.fh.Validate())
			require.True(t, fh.fh.Equals(h.h.ToFloat(nil)), "the two hold the same observations")
			require.Len(t, h.exemplars, 1)
		} else {
			require.Equal(t, ordinal, found["agenttest_histogram_count/00000"].value)
		}
		require.Equal(t, ordinal, found["agenttest_classic_histogram_count/00000"].value)
	}
	nhcb := scrapeTarget(t, s.URL(target), acceptProtobuf, true)["agenttest_classic_histogram/00000"]
	require.True(t, nhcb.h.UsesCustomBuckets())
	require.NoError(t, nhcb.h.Validate())
	require.EqualValues(t, 4, nhcb.h.Count)
	require.Len(t, target.Answered(), 4)
}

func TestTargetHistogramsStayValid(t *testing.T) {
	for _, kind := range []string{"native", "float", "classic"} {
		h := newHistogram(kind)
		for ordinal := range int64(30) {
			setHistogram(h, ordinal+1)
			switch kind {
			case "native":
				sum, n := int64(0), int64(*h.ZeroCount)+h.NegativeDelta[0]
				for _, d := range h.PositiveDelta {
					sum += d
					n += sum
				}
				require.EqualValues(t, *h.SampleCount, n)
			case "float":
				require.Equal(t, *h.SampleCountFloat, *h.ZeroCountFloat+h.NegativeCount[0]+h.PositiveCount[0]+h.PositiveCount[1]+h.PositiveCount[2])
			default:
				require.LessOrEqual(t, *h.Bucket[2].CumulativeCount, *h.SampleCount)
			}
		}
	}
}

func TestTargets(t *testing.T) {
	s := startTargets(t)
	a, b := s.Add("a", TargetOptions{Series: 2}), s.Add("b", TargetOptions{})
	_, _, body := get(t, "http://"+s.Addr()+"/sd", "*/*")
	var groups []struct {
		Targets []string
		Labels  map[string]string
	}
	require.NoError(t, json.Unmarshal(body, &groups))
	require.Len(t, groups, 2)
	require.Equal(t, map[string]string{"__metrics_path__": "/t/b/metrics", "instance": "b"}, groups[1].Labels)
	require.Equal(t, "http://"+groups[1].Targets[0]+groups[1].Labels["__metrics_path__"], s.URL(b))

	require.Equal(t, "a", scrapeTarget(t, "http://"+s.Addr()+"/metrics", acceptText, false)[ScrapesMetric].labels.Get("target"))
	a.Update(func(o *TargetOptions) { o.Series = 1 })
	found := scrapeTarget(t, s.URL(a), acceptText, false)
	require.Equal(t, 2.0, found[ScrapesMetric].value)
	require.Contains(t, found, "agenttest_gauge/00000")
	require.NotContains(t, found, "agenttest_gauge/00001")

	a.Update(func(o *TargetOptions) {
		o.Answer = func(w http.ResponseWriter, _ *http.Request, ordinal int64) bool {
			w.WriteHeader(http.StatusTeapot)
			return ordinal == 3
		}
	})
	status, _, _ := get(t, s.URL(a), acceptText)
	require.Equal(t, http.StatusTeapot, status)
	require.Len(t, a.Answered(), 2)

	s.Remove(b)
	status, _, _ = get(t, s.URL(b), acceptText)
	require.Equal(t, 404, status)
	require.Equal(t, []*Target{a}, s.List())
}

func TestUnansweredScrapes(t *testing.T) {
	s := startTargets(t)
	target := s.Add("a", TargetOptions{Delay: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL(target), http.NoBody)
	require.NoError(t, err)
	gone := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		gone <- err
	}()
	require.Eventually(t, func() bool { return target.begun() == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-gone, context.Canceled)
	target.Update(func(o *TargetOptions) { o.Delay = time.Millisecond })

	awaited := make(chan error, 1)
	go func() { awaited <- target.Await(t.Context(), 1) }()
	require.Equal(t, 2.0, scrapeTarget(t, s.URL(target), acceptText, false)[ScrapesMetric].value)
	require.NoError(t, <-awaited)
	require.EqualValues(t, 2, target.Answered()[0].Ordinal)
	ended, end := context.WithCancel(t.Context())
	end()
	require.EqualError(t, target.Await(ended, 2), "target a: context canceled after 1 of 2 scrapes")
}

func TestLargeBody(t *testing.T) {
	s := startTargets(t)
	target := s.Add("a", TargetOptions{Series: 20_000})
	resp, err := http.Get(s.URL(target))
	require.NoError(t, err)
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	require.Greater(t, resp.ContentLength, int64(1<<20))
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.Empty(t, target.Answered(), "nobody knows yet what the scraper made of it")
	scrapeTarget(t, s.URL(target), acceptText, false)
	require.Len(t, target.Answered(), 2)
}

// A response that was written whole and is given up by its scraper is not
// answered, whatever the next scrape comes over.
func TestGivenUpScrapes(t *testing.T) {
	s := startTargets(t)
	target := s.Add("a", TargetOptions{Series: 10})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	read := func() {
		resp, err := client.Get(s.URL(target))
		require.NoError(t, err)
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
	}
	giveUp := func() {
		ordinal := target.begun() + 1
		conn, err := net.Dial("tcp", s.Addr())
		require.NoError(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", metricsPath(target.Name), s.Addr())
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			target.mu.Lock()
			defer target.mu.Unlock()
			return target.written != nil && target.written.Ordinal == ordinal
		}, 10*time.Second, time.Millisecond)
	}
	for _, scrape := range []func(){read, read, giveUp, read, giveUp, giveUp, read} {
		scrape()
	}
	client.CloseIdleConnections() // as when the scraper is killed
	read()
	read()
	var ordinals []int64
	for _, a := range target.Answered() {
		ordinals = append(ordinals, a.Ordinal)
	}
	require.Equal(t, []int64{1, 2, 4, 8}, ordinals)
}

// scraped are the samples of scrapes with these ordinals, a second apart.
func scraped(target string, at float64, ordinals ...float64) (timesAndValues []float64) {
	for i, ordinal := range ordinals {
		timesAndValues = append(timesAndValues, at+float64(i)*1000, ordinal)
	}
	return timesAndValues
}

func TestScrapes(t *testing.T) {
	s := startTargets(t)
	target := s.Add("t", TargetOptions{})
	var half time.Time
	for i := range 6 {
		scrapeTarget(t, s.URL(target), acceptText, false)
		require.Len(t, target.Answered(), i+1)
		if i == 2 {
			half = time.Now()
		}
	}
	for name, tc := range map[string]struct {
		series [][]float64 // one per external label set
		before time.Time
		want   Scrapes
		err    string
		gaps   []int64
	}{
		"whole": {
			series: [][]float64{scraped("t", 0, 1, 2, 3, 4, 5, 6)},
			want:   Scrapes{Answered: 6, Stored: 6, Newest: 6},
		},
		"in two series": {
			series: [][]float64{scraped("t", 0, 1, 2, 3), scraped("t", 3000, 4, 5, 6)},
			want:   Scrapes{Answered: 6, Stored: 6, Newest: 6},
		},
		"a part is asked for": {
			series: [][]float64{scraped("t", 0, 1, 2, 3)}, before: half,
			want: Scrapes{Answered: 3, Stored: 3, Newest: 3},
		},
		"missing": {
			series: [][]float64{scraped("t", 0, 1, 3, 5)}, gaps: []int64{2, 4},
			want: Scrapes{Answered: 6, Stored: 3, Newest: 5, Missing: []int64{2, 4, 6}, MissingSamples: 3},
			err:  "target t: 3 of 6 scrapes missing: [2 4 6]",
		},
		"nothing": {
			want: Scrapes{Answered: 6, Missing: []int64{1, 2, 3, 4, 5, 6}, MissingSamples: 6},
			err:  "target t: 6 of 6 scrapes missing: [1 2 3 4 5 6]",
		},
		"repeated and disordered": {
			series: [][]float64{scraped("t", 0, 1, 2, 2, 4, 3, 5, 6)},
			want:   Scrapes{Answered: 6, Stored: 6, Newest: 6, Repeated: []int64{2}, Disordered: []int64{3}},
			err:    "target t: 1 of 6 scrapes repeated: [2]\ntarget t: 1 of 6 scrapes out of order: [3]",
		},
		"unknown": {
			series: [][]float64{scraped("t", 0, 0, 1, 2, 3, 4, 5, 6, 7)},
			want:   Scrapes{Answered: 6, Stored: 6, Newest: 6, Unknown: []float64{0, 7}},
			err:    "target t: 2 of 6 scrapes unknown: [0 7]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEndpoint(t, Options{PlainHTTP: true})
			w := newSender(t, e)
			for i, samples := range tc.series {
				series := ts(ScrapesMetric, samples...)
				series.Labels[1].Name, series.Labels[1].Value = "target", "t"
				series.Labels = append(series.Labels, ts(fmt.Sprint(i)).Labels[0])
				series.Labels[2].Name = "external"
				require.NoError(t, w.write(series))
			}
			tc.want.Target = "t"
			got := e.Snapshot().Scrapes(target, "", tc.before)
			require.Equal(t, tc.want, got)
			require.Equal(t, tc.gaps, got.Gaps())
			if tc.err == "" {
				require.NoError(t, got.Err())
			} else {
				require.EqualError(t, got.Err(), tc.err)
			}
		})
	}
}

// TestScrapesOfSeveralSeries: what each series lacks of a scrape counts.
func TestScrapesOfSeveralSeries(t *testing.T) {
	s := startTargets(t)
	target := s.Add("t", TargetOptions{})
	for range 3 {
		scrapeTarget(t, s.URL(target), acceptText, false)
	}
	e := startEndpoint(t, Options{PlainHTTP: true})
	w := newSender(t, e)
	for i, has := range [][]float64{{1, 2, 3}, {2, 3}, {1, 2}, {2, 3}} {
		series := ts("agenttest_gauge", scraped("t", 0, has...)...)
		series.Labels[1].Name, series.Labels[1].Value = "series", fmt.Sprint(i)
		series.Labels = append(series.Labels, ts("t").Labels[0])
		series.Labels[2].Name = "target"
		require.NoError(t, w.write(series))
	}
	got := e.Snapshot().Scrapes(target, "agenttest_gauge", time.Time{})
	require.Equal(t, Scrapes{Target: "t", Answered: 3, Stored: 1, Newest: 3, Missing: []int64{1, 3}, MissingSamples: 3}, got)
}
