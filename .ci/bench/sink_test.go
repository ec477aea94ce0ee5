package main

import (
	"bytes"
	"context"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// series is one of the target t0 with samples of the values given, a second apart.
func series(name string, from time.Time, values ...float64) prompb.TimeSeries {
	s := prompb.TimeSeries{Labels: []prompb.Label{
		{Name: model.MetricNameLabel, Value: name}, {Name: "instance", Value: "x"}, {Name: "target", Value: "t0"},
	}}
	for i, v := range values {
		s.Samples = append(s.Samples, prompb.Sample{Value: v, Timestamp: from.Add(time.Duration(i) * time.Second).UnixMilli()})
	}
	return s
}

// push sends a request and returns its length and the status, 0 if there was no answer.
func push(t *testing.T, s *sink, request prompb.WriteRequest) (length int64, status int) {
	t.Helper()
	message, err := request.Marshal()
	require.NoError(t, err)
	body := snappy.Encode(nil, message)
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, s.url(), bytes.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Encoding", "snappy")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, 0
	}
	resp.Body.Close()
	return int64(len(body)), resp.StatusCode
}

func TestSinkCounts(t *testing.T) {
	s, err := newSink()
	require.NoError(t, err)
	defer s.down()
	now := time.Now()
	metadata := prompb.MetricMetadata{MetricFamilyName: "x", Type: prompb.MetricMetadata_GAUGE}
	first, status := push(t, s, prompb.WriteRequest{
		Metadata: []prompb.MetricMetadata{metadata},
		Timeseries: []prompb.TimeSeries{
			series("x", now, 1, 2, 3),
			series(agenttest.ScrapesMetric, now, 7, 8),
		},
	})
	require.Equal(t, http.StatusOK, status)
	second, _ := push(t, s, prompb.WriteRequest{Metadata: []prompb.MetricMetadata{metadata}})
	require.Equal(t, counts{samples: 5, bytes: first + second}, s.read())
	require.True(t, s.has(scrapeID{"t0", 7}))
	require.True(t, s.has(scrapeID{"t0", 8}))
	require.False(t, s.has(scrapeID{"t0", 9}))
	require.False(t, s.has(scrapeID{"t1", 7}))
}

// TestSinkDown: nothing is counted while it is down, and it is back on the same port.
func TestSinkDown(t *testing.T) {
	s, err := newSink()
	require.NoError(t, err)
	defer s.down()
	request := prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series("x", time.Now(), 1)}}
	url := s.url()
	s.down()
	s.down() // again
	_, status := push(t, s, request)
	require.Zero(t, status)
	require.Zero(t, s.read())
	require.NoError(t, s.up())
	require.Equal(t, url, s.url())
	_, status = push(t, s, request)
	require.Equal(t, http.StatusOK, status)
	require.EqualValues(t, 1, s.read().samples)
}

// TestSinkOld: what was scraped before the mark and comes after it is counted apart.
func TestSinkOld(t *testing.T) {
	s, err := newSink()
	require.NoError(t, err)
	defer s.down()
	now := time.Now()
	push(t, s, prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series("x", now, 1)}})
	s.setMark(now.Add(2 * time.Second))
	require.Zero(t, s.readOld())

	push(t, s, prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series("x", now.Add(2*time.Second), 4)}})
	old := s.readOld()
	require.Zero(t, old.samples)
	require.Zero(t, old.first)
	require.NotZero(t, old.any)

	length, _ := push(t, s, prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series("y", now, 1, 2, 3, 4)}})
	old = s.readOld()
	require.EqualValues(t, 2, old.samples)
	require.Equal(t, length*2/4, old.bytes)
	require.Equal(t, old.first, old.last)
	require.True(t, old.any.Before(old.last))

	push(t, s, prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series("z", now, 1)}})
	require.EqualValues(t, 3, s.readOld().samples)
	require.True(t, s.readOld().last.After(s.readOld().first))
}

// TestStaleScrapes: the marker of a target that is gone is a sample and no scrape.
func TestStaleScrapes(t *testing.T) {
	s, err := newSink()
	require.NoError(t, err)
	defer s.down()
	request := prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series(agenttest.ScrapesMetric, time.Now(), 1)}}
	request.Timeseries[0].Samples[0].Value = math.Float64frombits(value.StaleNaN)
	push(t, s, request)
	require.EqualValues(t, 1, s.read().samples)
	require.Empty(t, s.scrapes)
}

func TestSinkRefuses(t *testing.T) {
	s, err := newSink()
	require.NoError(t, err)
	defer s.down()
	for name, body := range map[string][]byte{
		"no snappy":  []byte("x"),
		"no message": snappy.Encode(nil, []byte{0xff}),
		"cut off":    snappy.Encode(nil, []byte{0x0a, 10, 1}),
		"fixed32":    snappy.Encode(nil, []byte{0x0d, 1, 2, 3, 4}),
	} {
		_, err := parseRequest(http.Header{"Content-Encoding": {"snappy"}}, body, 0)
		require.Error(t, err, name)
	}
	_, err = parseRequest(http.Header{"Content-Encoding": {"zstd"}}, nil, 0)
	require.EqualError(t, err, `content encoding "zstd" instead of snappy`)
}
