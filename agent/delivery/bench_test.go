package delivery

import (
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// recorded appends real scrapes of a node exporter, n times over, 15 seconds
// apart, of which the last is as old as one interval. It returns the samples.
func (r *rig) recorded(n int) (samples int) {
	r.t.Helper()
	scrapes, err := agenttest.RecordedScrapes()
	if err != nil {
		r.t.Fatal(err)
	}
	const interval = 15 * time.Second
	at := time.Now().Add(-time.Duration(n*len(scrapes)) * interval)
	for range n {
		for _, scrape := range scrapes {
			app := r.append.AppenderV2(r.t.Context())
			for _, s := range scrape {
				r.add(app, s.Labels, at, s.V)
			}
			if err := app.Commit(); err != nil {
				r.t.Fatal(err)
			}
			samples += len(scrape)
			at = at.Add(interval)
		}
	}
	return samples
}

// drainRecorded drains recorded scrapes with the settings that nobody has changed,
// and returns the bytes on the wire for each sample.
func drainRecorded(t testing.TB, extra string, scrapes int) float64 {
	r := newRig(t, agenttest.Manners{Window: -1, RemoteWrite2: agenttest.AcceptRemoteWrite2})
	r.queue = ""
	r.extra["one"] = extra
	r.openBehind()
	samples := r.recorded(scrapes)
	first := len(r.one().Snapshot().Requests)
	r.one().Recover()
	if l := r.awaitSettled("one"); l.Delivered != l.Appended {
		t.Fatalf("%+v", l)
	}
	sent := 0
	for _, request := range r.one().Snapshot().Requests[first:] {
		if request.Status/100 == 2 {
			sent += request.Bytes
		}
	}
	return float64(sent) / float64(samples)
}

// TestBytesPerSample: a backlog of real scrapes is small on the wire.
func TestBytesPerSample(t *testing.T) {
	t.Parallel()
	if got := drainRecorded(t, "", 1); got > 8.0 {
		t.Errorf("%.2f bytes for each sample", got)
	}
}

// BenchmarkDrainedBytes is the cost on the wire of a backlog of a real
// exposition, with default settings, for 1.0 and 2.0.
func BenchmarkDrainedBytes(b *testing.B) {
	for name, extra := range map[string]string{"1.0": "", "2.0": "    protobuf_message: io.prometheus.write.v2.Request\n"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(drainRecorded(b, extra, 4), "B/sample")
			}
		})
	}
}
