package remotewrite

import (
	"fmt"
	"slices"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// nodeExporter returns the samples of real scrapes, in the order of a WAL.
func nodeExporter(t testing.TB) []Item {
	t.Helper()
	scrapes, err := agenttest.RecordedScrapes()
	if err != nil {
		t.Fatal(err)
	}
	var all []Item
	series := map[uint64]*Series{}
	for _, scrape := range scrapes {
		for _, sample := range scrape {
			hash := sample.Labels.Hash()
			if series[hash] == nil {
				series[hash] = &Series{Labels: sample.Labels}
			}
			all = append(all, Item{Series: series[hash], T: sample.T, V: sample.V})
		}
	}
	return all
}

// bytesPerSample encodes all full requests of so many samples.
func bytesPerSample(t testing.TB, all []Item, v2, grouped bool, batch int) float64 {
	t.Helper()
	enc := NewEncoder(false)
	sent, samples := 0, 0
	for ; len(all) >= batch; all = all[batch:] {
		var body []byte
		if grouped {
			var err error
			if body, err = enc.Encode(v2, Group(slices.Clone(all[:batch]))); err != nil {
				t.Fatal(err)
			}
		} else {
			body = oneSeriesPerItem(t, v2, all[:batch], false)
		}
		sent += len(body)
		samples += batch
	}
	return float64(sent) / float64(samples)
}

// TestBytesPerSample: what grouping is for. A drained backlog goes out in
// requests of 20,000 samples, or of 1 MiB before compression.
func TestBytesPerSample(t *testing.T) {
	t.Parallel()
	all := nodeExporter(t)
	if len(all) != 60*507 {
		t.Fatalf("%d samples", len(all))
	}
	var size Size
	if got := size.Add(all[:20000]); got >= 1<<20 {
		t.Errorf("a full request has %d bytes before compression: it would be cut short", got)
	}
	for batch, most := range map[int]float64{2000: 8, 20000: 4.5} {
		if got := bytesPerSample(t, all, false, true, batch); got > most {
			t.Errorf("%d samples a request: %.2f bytes a sample, more than %v", batch, got, most)
		}
	}
}

// BenchmarkBytesPerSample prints bytes/sample for real scrapes, without metadata.
func BenchmarkBytesPerSample(b *testing.B) {
	all := nodeExporter(b)
	for _, v2 := range []bool{false, true} {
		for _, grouped := range []bool{false, true} {
			for _, batch := range []int{500, 2000, 5000, 20000} {
				b.Run(fmt.Sprintf("2.0=%t/grouped=%t/batch=%d", v2, grouped, batch), func(b *testing.B) {
					b.ReportAllocs()
					perSample := 0.0
					for b.Loop() {
						perSample = bytesPerSample(b, all, v2, grouped, batch)
					}
					b.ReportMetric(perSample, "bytes/sample")
				})
			}
		}
	}
}
