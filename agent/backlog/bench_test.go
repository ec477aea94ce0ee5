package backlog

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// bigBacklog writes a finished generation of about the size given, in segments of
// 4 MiB: scrapes of 500 samples, 5,000 series.
func bigBacklog(b testing.TB, size int64) (dir string, samples int) {
	dir = b.TempDir()
	gen := filepath.Join(dir, "backlog", segmentName(1))
	w, err := wlog.NewSize(nil, nil, gen, 4<<20, compression.Snappy)
	require.NoError(b, err)
	var enc record.Encoder
	for target := range 10 {
		var series []record.RefSeries
		for i := range 500 {
			series = append(series, record.RefSeries{Ref: chunks.HeadSeriesRef(target*500 + i), Labels: labels.FromStrings("__name__", fmt.Sprint("metric_", i), "instance", fmt.Sprint("host", target))})
		}
		require.NoError(b, w.Log(enc.Series(series, nil)))
	}
	rec := make([]record.RefSample, 500)
	for ts := int64(0); ; ts++ {
		for i := range rec {
			rec[i] = record.RefSample{Ref: chunks.HeadSeriesRef(int(ts%10)*500 + i), T: 1.7e12 + ts*1500, V: float64(ts*int64(i)) * 1.1}
		}
		require.NoError(b, w.Log(enc.Samples(rec, nil)))
		samples += len(rec)
		if ts%1000 == 0 && dirBytes(gen) > size {
			break
		}
	}
	require.NoError(b, w.Close())
	return dir, samples
}

func BenchmarkOpen(b *testing.B) {
	dir, _ := bigBacklog(b, 256<<20)
	for b.Loop() {
		s, err := Open(Options{Dir: dir, MaxBytes: 1 << 40, MinFreeBytes: 1, SegmentSize: 4 << 20})
		require.NoError(b, err)
		require.NoError(b, s.Close())
	}
}

func BenchmarkRead(b *testing.B) {
	dir, samples := bigBacklog(b, 64<<20)
	s := openStore(b, dir, Options{})
	b.ReportAllocs()
	for b.Loop() {
		r := s.NewReader(Position{})
		for {
			_, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(b, err)
		}
		r.Close()
	}
	b.ReportMetric(float64(samples)*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
}
