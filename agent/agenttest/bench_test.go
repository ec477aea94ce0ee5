package agenttest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

const (
	benchSeries  = 5000
	benchSamples = 2000 // in a request
)

// backlog makes the requests that a drain of benchSeries series sends: one
// sample each, in the order in which they were scraped.
type backlog struct {
	labels [][]prompb.Label
	next   int
}

func newBacklog() *backlog {
	b := &backlog{labels: make([][]prompb.Label, benchSeries)}
	for i := range b.labels {
		b.labels[i] = []prompb.Label{
			{Name: "__name__", Value: fmt.Sprintf("http_requests_total_%d", i%50)},
			{Name: "code", Value: "200"},
			{Name: "handler", Value: fmt.Sprintf("/api/v1/handler/%d", i)},
			{Name: "instance", Value: "edge-0123.example.com:9100"},
			{Name: "job", Value: "node"},
			{Name: "method", Value: "get"},
		}
	}
	return b
}

func (b *backlog) request(tb testing.TB) []byte {
	req := &prompb.WriteRequest{Timeseries: make([]prompb.TimeSeries, benchSamples)}
	for i := range req.Timeseries {
		req.Timeseries[i] = prompb.TimeSeries{
			Labels:  b.labels[b.next%benchSeries],
			Samples: []prompb.Sample{{Timestamp: int64(b.next/benchSeries) * 1000, Value: float64(b.next) * 1.37}},
		}
		b.next++
	}
	return encode(tb, req)
}

// BenchmarkPush is the endpoint's own part of a drain, without the network.
// The drain benchmark of the agent shares two cores with it, so that it must
// take 400,000 samples a second on one: -cpu 1.
func BenchmarkPush(b *testing.B) {
	e := startEndpoint(b, Options{PlainHTTP: true, Manners: Manners{Window: -1}})
	backlog := newBacklog()
	ctx := context.WithValue(b.Context(), connectionKey{}, &connection{})
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		body := backlog.request(b)
		b.StartTimer()
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, PushPath, bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+DefaultToken)
		w := httptest.NewRecorder()
		e.push(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Body.String())
		}
	}
	reportRate(b, e)
}

// BenchmarkStore adds TLS, the network and upstream's write client.
func BenchmarkStore(b *testing.B) {
	e := startEndpoint(b, Options{Manners: Manners{Window: -1}})
	s := newSender(b, e)
	backlog := newBacklog()
	for b.Loop() {
		b.StopTimer()
		body := backlog.request(b)
		b.StartTimer()
		_, err := s.client.Store(b.Context(), body, 0)
		require.NoError(b, err)
	}
	reportRate(b, e)
}

func reportRate(b *testing.B, e *Endpoint) {
	require.EqualValues(b, b.N*benchSamples, e.Snapshot().Accepted)
	b.ReportMetric(float64(b.N*benchSamples)/b.Elapsed().Seconds(), "samples/s")
}
