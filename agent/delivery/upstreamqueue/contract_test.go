package upstreamqueue

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// The contract with upstream: each assumption in assumptions.go, over upstream's
// own WAL, remote storage and decoders, and HTTP. Run it alone after an upgrade:
//
//	go test -run TestContract ./agent/delivery/upstreamqueue/

// TestContractSpans: every attempt is announced with its size before the request
// is made, and told afterwards, by name and URL.
func TestContractSpans(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	var w, other watch
	w.before = func(context.Context, int) {
		if n := len(e.requests()); n > 0 {
			t.Errorf("%d requests were made before the batch was announced", n)
		}
	}
	r.start(e.entry(t, "one"), w.observer())
	_, after := r.start(newReceiver(t).entry(t, "other"), other.observer()).StartBounds()
	r.appendAll(after + 1)
	r.await("all items", func() bool { return w.acknowledged() == 3 })

	announced, ended := w.seen()
	want := []Outcome{{Samples: 1, Histograms: 1, Exemplars: 1}}
	if !slices.Equal(ended, want) || !slices.Equal(announced, []int{3}) {
		t.Errorf("announced %v, ended %+v", announced, ended)
	}
	items := []item{{"float", after + 1, 1}, {"histogram", after + 1, 2}, {"float", after + 1, 3}}
	if got := e.received(); !slices.Equal(got, items) {
		t.Errorf("received %v, want %v", got, items)
	}
	r.await("the other queue", func() bool { return other.acknowledged() == 3 })
}

// TestContractOrder: one shard is first in, first out, in batches of at most
// max_samples_per_send, and one sample in the WAL is one item.
func TestContractOrder(t *testing.T) {
	for _, message := range []remoteapi.WriteMessageType{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType} {
		t.Run(string(message), func(t *testing.T) {
			r, e := newRig(t), newReceiver(t)
			var w watch
			u := r.start(e.entry(t, "one", func(c *config.RemoteWriteConfig) { c.ProtobufMessage = message }), w.observer())
			_, after := u.StartBounds()
			var want []item
			for i := range 300 {
				commit := []item{{"a", after + 1 + int64(i), float64(i)}, {"b", after + 1 + int64(i), float64(-i)}, {"c", after + 1 + int64(i), 0}}
				r.append(commit...)
				want = append(want, commit...)
			}
			r.await("all samples", func() bool { return w.acknowledged() >= len(want) })
			if got := e.received(); !slices.Equal(got, want) {
				t.Errorf("%d samples have not arrived as %d were appended", len(got), len(want))
			}
			if announced, _ := w.seen(); slices.Max(announced) > 10 {
				t.Errorf("batches of %v", announced)
			}
		})
	}
}

// TestContractStartTime: the queue's watcher takes a time between the bounds.
// A sample up to it is never sent and not counted, a later one is.
func TestContractStartTime(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	var w watch
	begun := time.Now()
	u := r.start(e.entry(t, "one"), w.observer())
	before, after := u.StartBounds()
	if before < begun.UnixMilli()-1 || after < before || after > time.Now().UnixMilli()+1 {
		t.Errorf("the bounds are %d and %d, begun at %d, now %d", before, after, begun.UnixMilli(), time.Now().UnixMilli())
	}
	r.append(item{"old", before - 1, 1}, item{"oldest_unsent", before, 2})
	r.append(item{"newest", after + 1, 3})
	r.await("the new sample", func() bool { return w.acknowledged() > 0 })
	if got, want := e.received(), []item{{"newest", after + 1, 3}}; !slices.Equal(got, want) {
		t.Errorf("received %v, want %v", got, want)
	}
	if announced, _ := w.seen(); !slices.Equal(announced, []int{1}) {
		t.Errorf("announced %v", announced)
	}
}

// TestContractLogs: a watcher logs before it takes its start time, and just after.
func TestContractLogs(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	var w watch
	u := r.start(e.entry(t, "one"), w.observer())
	starting, replaying := u.watcher.said.starting.Load(), u.watcher.said.replaying.Load()
	if starting == nil || replaying == nil || replaying.Before(*starting) {
		t.Fatalf("the watcher said that it is starting at %v, and replaying at %v", starting, replaying)
	}
	before, after := u.StartBounds()
	if before < starting.UnixMilli()-1 || after > replaying.UnixMilli()+1 {
		t.Errorf("the bounds are %d and %d, its words %d and %d", before, after, starting.UnixMilli(), replaying.UnixMilli())
	}
}

// TestContractLastSegment: the queue sends the last segment from its beginning,
// and of the segments before it only uses the series.
func TestContractLastSegment(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	future := time.Now().Add(time.Hour).UnixMilli()
	r.append(item{"a", future, 1})
	r.cut()
	last := r.lastSegment()
	r.append(item{"a", future + 1, 2})
	r.appendAll(1000)
	var w watch
	u := r.start(e.entry(t, "one"), w.observer())
	r.append(item{"a", future + 2, 3})

	// Of what appendAll appends only the exemplar: it is not looked at for its time.
	want := []item{{"a", future + 1, 2}, {"float", 1000, 3}, {"a", future + 2, 3}}
	r.await("all items", func() bool { return w.acknowledged() >= len(want) })
	if got := e.received(); !slices.Equal(got, want) {
		t.Errorf("received %v, want %v", got, want)
	}
	if u.UnknownSeries() != 0 {
		t.Error("the series of the segments before are not known")
	}
	if s := u.Segment(); s != last {
		t.Errorf("the watcher is in segment %d, want %d", s, last)
	}
}

// TestContractMetrics: the watcher's metrics move. It goes on with the next
// segment by itself, and reads it when it is notified again.
func TestContractMetrics(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	var w watch
	u := r.start(e.entry(t, "one"), w.observer())
	r.await("the watcher in the last segment", func() bool { return u.Segment() == r.lastSegment() })
	records := sum(u.watcher.records)
	_, after := u.StartBounds()
	r.append(item{"a", after + 1, 1})
	r.await("the sample", func() bool { return w.acknowledged() == 1 })
	if now := sum(u.watcher.records); now <= records {
		t.Errorf("%v records were read before, %v after a sample", records, now)
	}
	if u.BegunAgain() {
		t.Error("the watcher has begun again")
	}
	r.cut()
	r.append(item{"a", after + 2, 1})
	r.await("the sample in the next segment", func() bool { return w.acknowledged() == 2 })
	if s := u.Segment(); s != r.lastSegment() || u.BegunAgain() {
		t.Errorf("the watcher is in segment %d, and the last is %d; begun again: %v", s, r.lastSegment(), u.BegunAgain())
	}
}

// TestContractHoldBefore: a queue that is held before a request makes none.
func TestContractHoldBefore(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	release := make(chan struct{})
	w := watch{before: func(context.Context, int) { <-release }}
	u := r.start(e.entry(t, "one"), w.observer())
	defer close(release)
	_, after := u.StartBounds()
	r.append(count("a", after+1, 50)...)
	r.await("the batch", func() bool { announced, _ := w.seen(); return len(announced) > 0 })
	r.append(count("b", after+1, 50)...)
	r.await("a full queue", func() bool { return pending(t, u) >= 100 })
	if n := len(e.requests()); n > 0 {
		t.Errorf("%d requests were made", n)
	}
}

// pending is the number of samples in the queue.
func pending(t testing.TB, u *Queue) float64 {
	t.Helper()
	families, err := u.registry.Gather()
	if err != nil {
		t.Error(err)
	}
	for _, f := range families {
		if f.GetName() == "prometheus_remote_storage_samples_pending" {
			return f.Metric[0].GetGauge().GetValue()
		}
	}
	return 0
}

// TestContractHoldAfter: after an error that is not retried the queue would go
// on. Held at its end, it does not, and when it is stopped its context ends and
// nothing is sent any more.
func TestContractHoldAfter(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	w := watch{after: func(ctx context.Context, o Outcome) { <-ctx.Done() }}
	u := r.start(e.entry(t, "one"), w.observer())
	e.answer(http.StatusUnauthorized)
	_, after := u.StartBounds()
	r.append(count("a", after+1, 50)...)
	r.await("the answer", func() bool { _, ended := w.seen(); return len(ended) > 0 })
	within(t, "stopping a held queue", func() {
		if err := u.Stop(); err != nil {
			t.Error(err)
		}
	})
	if _, ended := w.seen(); len(ended) != 1 || ended[0].Status != http.StatusUnauthorized || ended[0].Retried {
		t.Errorf("ended %+v", ended)
	}
	if n := len(e.requests()); n != 1 {
		t.Errorf("%d requests were made, want 1", n)
	}
}

// TestContractRetries: which answers upstream retries, and which it gives up at.
func TestContractRetries(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	var w watch
	u := r.start(e.entry(t, "one"), w.observer())
	_, at := u.StartBounds()
	var want []Outcome
	retried := map[int]bool{0: true, 429: true, 500: true, 502: true, 503: true, 511: true, 599: true}
	for _, status := range []int{0, 307, 400, 401, 404, 408, 409, 413, 415, 422, 425, 429, 500, 502, 503, 511, 599} {
		at++
		e.answer(status)
		r.append(item{"a", at, float64(status)})
		want = append(want, Outcome{Samples: 1, Status: status, Retried: retried[status]})
		if retried[status] {
			want = append(want, Outcome{Samples: 1})
		}
		r.await(fmt.Sprintf("the answer %d", status), func() bool { _, ended := w.seen(); return len(ended) >= len(want) })
	}
	_, got := w.seen()
	for i := range got {
		if failed := want[i].Status != 0 || want[i].Retried; failed != (got[i].Err != "") {
			t.Errorf("attempt %d ended with %q", i, got[i].Err)
		}
		got[i].Err = ""
	}
	if !slices.Equal(got, want) {
		t.Errorf("outcomes:\n%+v, want:\n%+v", got, want)
	}
}

// TestContractNothingWritten: a 2xx to 2.0 that does not say what was written is
// no acknowledgement, and not retried.
func TestContractNothingWritten(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	e.silent = true
	var w watch
	u := r.start(e.entry(t, "one", func(c *config.RemoteWriteConfig) { c.ProtobufMessage = remoteapi.WriteV2MessageType }), w.observer())
	_, after := u.StartBounds()
	r.append(item{"a", after + 1, 1})
	r.await("the answer", func() bool { _, ended := w.seen(); return len(ended) > 0 })
	if _, ended := w.seen(); ended[0].Err == "" || ended[0].Status != 0 || ended[0].Retried {
		t.Errorf("ended %+v", ended)
	}
}

// TestContractUnknownSeries: samples whose series the queue does not know are
// dropped and counted.
func TestContractUnknownSeries(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	future := time.Now().Add(time.Hour).UnixMilli()
	r.append(item{"lost", future, 1})
	r.cut()
	for s := range r.lastSegment() {
		if err := os.Remove(wlog.SegmentName(filepath.Join(r.dir, "wal"), s)); err != nil {
			t.Fatal(err)
		}
	}
	var w watch
	u := r.start(e.entry(t, "one"), w.observer())
	r.append(item{"lost", future + 1, 2}, item{"known", future, 3})
	r.await("the other sample", func() bool { return w.acknowledged() == 1 })
	if got, want := e.received(), []item{{"known", future, 3}}; !slices.Equal(got, want) {
		t.Errorf("received %v, want %v", got, want)
	}
	if n := u.UnknownSeries(); n != 1 {
		t.Errorf("%v samples of unknown series, want 1", n)
	}
}
