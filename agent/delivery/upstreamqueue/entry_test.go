package upstreamqueue

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/config"
)

// TestContractEntry: before each request, a queue takes over what has become of its entry; when
// there is none at the moment, it sends nothing and tries again.
func TestContractEntry(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	entry := func(token string) *config.RemoteWriteConfig {
		return e.entry(t, "one", func(c *config.RemoteWriteConfig) {
			c.HTTPClientConfig.Authorization = &config_util.Authorization{Type: "Bearer", Credentials: config_util.Secret(token)}
		})
	}
	var w watch
	var now atomic.Pointer[config.RemoteWriteConfig]
	now.Store(entry("first"))
	o := w.observer()
	missing := errors.New("it is missing")
	o.Entry = func(context.Context) (*config.RemoteWriteConfig, error) {
		if cfg := now.Load(); cfg != nil {
			return cfg, nil
		}
		return nil, missing
	}
	u := r.start(now.Load(), o)
	_, after := u.StartBounds()
	sends := func(n int, want string) {
		t.Helper()
		r.append(item{"a", after + int64(n), 1})
		r.await("the sample", func() bool { return w.acknowledged() == n })
		requests := e.requests()
		if got := requests[len(requests)-1].Get("Authorization"); got != want || len(requests) != n {
			t.Errorf("request %d, which is %d, was sent with %q, want %q", len(requests), n, got, want)
		}
	}
	sends(1, "Bearer first")
	now.Store(entry("second"))
	sends(2, "Bearer second")
	if announced, ended := w.seen(); len(announced) != 2 || len(ended) != 2 {
		t.Errorf("it was told of %d requests and %+v, and there were two", len(announced), ended)
	}

	now.Store(nil)
	r.append(item{"a", after + 3, 1})
	var last Outcome
	r.await("several attempts", func() bool {
		_, ended := w.seen()
		last = ended[len(ended)-1]
		return len(ended) >= 5
	})
	if last.Err != missing.Error() || !last.Unsent || !last.Retried || last.Status != 0 || last.Items() != 1 {
		t.Errorf("%+v", last)
	}
	if announced, _ := w.seen(); len(announced) != 2 || len(e.requests()) != 2 {
		t.Errorf("%d requests were made, %d were announced", len(e.requests()), len(announced))
	}
	now.Store(entry("third"))
	r.await("the sample", func() bool { return w.acknowledged() == 3 })
	if requests := e.requests(); len(requests) != 3 || requests[2].Get("Authorization") != "Bearer third" {
		t.Errorf("%d requests", len(requests))
	}
	if u.BegunAgain() || len(e.received()) != 3 {
		t.Errorf("the queue has begun again, or sent again: %v", e.received())
	}
}

// TestEntryOfAnotherQueue: what would be another queue for upstream is not taken over.
// The batch is held, as its observer holds it, and the queue can be stopped.
func TestEntryOfAnotherQueue(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	w := watch{after: func(ctx context.Context, _ Outcome) { <-ctx.Done() }}
	o := w.observer()
	other := e.entry(t, "one", func(c *config.RemoteWriteConfig) { c.HTTPClientConfig.TLSConfig.CA = string(selfSigned(t)) })
	o.Entry = func(context.Context) (*config.RemoteWriteConfig, error) { return other, nil }
	u := r.start(e.entry(t, "one"), o)
	_, after := u.StartBounds()
	r.append(item{"a", after + 1, 1})
	r.await("the attempt", func() bool { _, ended := w.seen(); return len(ended) == 1 })
	_, ended := w.seen()
	if !ended[0].Unsent || ended[0].Retried || !strings.Contains(ended[0].Err, "cannot go on with another configuration") {
		t.Errorf("%+v", ended[0])
	}
	within(t, "the stop", func() {
		if err := u.Stop(); err != nil {
			t.Error(err)
		}
	})
	if n := len(e.requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// TestEntryForEachRequest: an entry that is another one each time is no reason to send
// nothing: each serves one request.
func TestEntryForEachRequest(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	var asked atomic.Int64
	var w watch
	o := w.observer()
	o.Entry = func(context.Context) (*config.RemoteWriteConfig, error) {
		token := config_util.Secret("Bearer " + strconv.FormatInt(asked.Add(1), 10))
		return e.entry(t, "one", func(c *config.RemoteWriteConfig) { c.HTTPClientConfig.BearerToken = token }), nil
	}
	u := r.start(e.entry(t, "one", func(c *config.RemoteWriteConfig) { c.HTTPClientConfig.BearerToken = "0" }), o)
	_, after := u.StartBounds()
	for i := range int64(3) {
		r.append(item{"a", after + 1 + i, 1})
		r.await("the sample", func() bool { return w.acknowledged() == int(i)+1 })
	}
	if n := asked.Load(); n != 3 || len(e.requests()) != 3 {
		t.Errorf("it was asked for %d times, for %d requests", n, len(e.requests()))
	}
}

// TestStopWhileEntryIsAwaited: the queue's stop ends what its entry waits for, and
// nothing is sent then.
func TestStopWhileEntryIsAwaited(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	asked := make(chan struct{}, 1000)
	var w watch
	o := w.observer()
	o.Entry = func(ctx context.Context) (*config.RemoteWriteConfig, error) {
		asked <- struct{}{}
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	u := r.start(e.entry(t, "one"), o)
	_, after := u.StartBounds()
	r.append(item{"a", after + 1, 1})
	r.await("the question", func() bool { return len(asked) > 0 })
	begun := time.Now()
	within(t, "the stop", func() {
		if err := u.Stop(); err != nil {
			t.Error(err)
		}
	})
	if n := len(e.requests()); n != 0 {
		t.Errorf("%d requests, in %s", n, time.Since(begun))
	}
}
