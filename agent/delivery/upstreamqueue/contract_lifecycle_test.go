package upstreamqueue

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// The part of the contract that is about a queue's life: see contract_test.go.

// TestContractStop: stopping a queue at an endpoint that hangs ends when the
// flush deadline has passed, full as the queue may be, and cuts off the request.
func TestContractStop(t *testing.T) {
	r := newRig(t)
	cut := make(chan struct{})
	hangs := newReceiver(t)
	hangs.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body) // else the server does not see that the client is gone
		<-req.Context().Done()
		close(cut)
	})
	var w watch
	u := r.start(hangs.entry(t, "one"), w.observer())
	_, after := u.StartBounds()
	r.append(count("a", after+1, 1000)...)
	r.await("a full queue", func() bool { return pending(t, u) >= 100 })
	begun := time.Now()
	within(t, "stopping a queue that hangs", func() {
		if err := u.Stop(); err != nil {
			t.Error(err)
		}
	})
	if took := time.Since(begun); took < flushDeadline {
		t.Errorf("the queue had %s to flush, want %s", took, flushDeadline)
	}
	within(t, "the request", func() { <-cut })
	if _, ended := w.seen(); len(ended) != 1 || ended[0].Err == "" {
		t.Errorf("ended %+v", ended)
	}
}

// TestContractRefresh: a queue goes on when only secrets change, and when its new
// client cannot be built.
func TestContractRefresh(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	token := func(token string) func(*config.RemoteWriteConfig) {
		return func(c *config.RemoteWriteConfig) {
			c.HTTPClientConfig.Authorization = &config_util.Authorization{Type: "Bearer", Credentials: config_util.Secret(token)}
		}
	}
	var w watch
	u := r.start(e.entry(t, "one", token("first")), w.observer())
	_, after := u.StartBounds()
	send := func(at int64, want string) {
		t.Helper()
		r.append(item{"a", at, 1})
		r.await("the sample", func() bool { return w.acknowledged() == int(at-after) })
		requests := e.requests()
		if got := requests[len(requests)-1].Get("Authorization"); got != want {
			t.Errorf("sent with %q, want %q", got, want)
		}
	}
	send(after+1, "Bearer first")
	if err := u.renew(e.entry(t, "one", token("second"))); err != nil {
		t.Fatal(err)
	}
	send(after+2, "Bearer second")
	for name, change := range map[string]func(*config.RemoteWriteConfig){
		"batch size": func(c *config.RemoteWriteConfig) { c.QueueConfig.MaxSamplesPerSend = 5 },
		"name":       func(c *config.RemoteWriteConfig) { c.Name = "other" },
		"user in the URL": func(c *config.RemoteWriteConfig) {
			c.URL.User = url.UserPassword("user", "first")
		},
	} {
		if err := u.renew(e.entry(t, "one", token("third"), change)); err == nil {
			t.Errorf("another %s was taken for a secret", name)
		}
	}
	send(after+3, "Bearer second")
	if u.BegunAgain() || len(e.received()) != 3 {
		t.Errorf("the queue has begun again, or sent again: %v", e.received())
	}
}

// TestIdentity: upstream hides the password in the URL when it compares entries,
// and shows it on the spans that a queue's batches are known by.
func TestIdentity(t *testing.T) {
	e := newReceiver(t)
	identity := func(password, token string) string {
		t.Helper()
		id, err := identityOf(e.entry(t, "one", func(c *config.RemoteWriteConfig) {
			c.URL.User = url.UserPassword("user", password)
			c.HTTPClientConfig.Authorization = &config_util.Authorization{Credentials: config_util.Secret(token)}
		}))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	if identity("first", "a") == identity("second", "a") {
		t.Error("another password in the URL passes for a secret")
	}
	if identity("first", "a") != identity("first", "b") {
		t.Error("another secret passes for another queue")
	}
}

// selfSigned returns a certificate.
func selfSigned(t testing.TB) []byte {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// TestContractClientFails: when a file that the client needs is gone, the queue
// goes on with the client that it has, and can be refreshed later.
func TestContractClientFails(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	cert := selfSigned(t)
	write := func() {
		t.Helper()
		if err := os.WriteFile(ca, cert, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	secured := func(c *config.RemoteWriteConfig) { c.HTTPClientConfig.TLSConfig.CAFile = ca }
	var w watch
	u := r.start(e.entry(t, "one", secured), w.observer())
	_, after := u.StartBounds()
	for i, refresh := range []func() bool{
		func() bool {
			if err := os.Remove(ca); err != nil {
				t.Fatal(err)
			}
			defer write() // a client reads it before each request, too
			return u.renew(e.entry(t, "one", secured)) != nil
		},
		func() bool { return u.renew(e.entry(t, "one", secured)) == nil },
	} {
		if !refresh() {
			t.Errorf("refresh %d did not do what it should", i)
		}
		r.append(item{"a", after + 1 + int64(i), 1})
		r.await("the sample", func() bool { return w.acknowledged() == i+1 })
	}
	if u.BegunAgain() {
		t.Error("the queue has begun again")
	}
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Start(t.Context(), e.entry(t, "two", secured), u.external, w.observer()); err == nil {
		t.Error("a queue was started without its client")
	}
	if n := r.LowestSegment(); n != u.Segment() {
		t.Errorf("the lowest segment is %d, and the only queue in %d", n, u.Segment())
	}
}

// TestContractFirstSegment: the WAL never writes segment 0, so a watcher's gauge
// is not 0 when it has begun.
func TestContractFirstSegment(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	if last := r.lastSegment(); last != 1 {
		t.Errorf("a new WAL writes segment %d, want 1", last)
	}
	if info, err := os.Stat(wlog.SegmentName(filepath.Join(r.dir, "wal"), 0)); err != nil || info.Size() != 0 {
		t.Errorf("segment 0: %v, %v", info, err)
	}
	var w watch
	u := r.start(e.entry(t, "one"), w.observer())
	r.await("the first segment", func() bool { return u.Segment() == 1 })
}

// garble writes a record with a wrong checksum to the end of a segment. It
// returns how to take it away again.
func garble(t testing.TB, segment string) (mend func()) {
	t.Helper()
	before, err := os.Stat(segment)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(segment, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write([]byte{1, 0, 4, 1, 2, 3, 4, 5, 6, 7, 8}); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Truncate(segment, before.Size()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestContractBegunAgain: a watcher that fails begins again, at now; it sets its
// gauge anew, and says that it has failed.
func TestContractBegunAgain(t *testing.T) {
	t.Parallel() // it waits for 5 s
	r, e := newRig(t), newReceiver(t)
	var w watch
	u := r.start(e.entry(t, "one"), w.observer())
	_, after := u.StartBounds()
	r.append(item{"a", after + 1, 1})
	r.await("the first sample", func() bool { return w.acknowledged() == 1 })
	if u.BegunAgain() {
		t.Fatal("the watcher has begun again")
	}
	mend := garble(t, wlog.SegmentName(filepath.Join(r.dir, "wal"), r.lastSegment()))
	r.await("the failure", func() bool { return u.BegunAgain() })
	mend()
	r.append(item{"a", max(time.Now().UnixMilli(), after+2), 2})
	r.await("the gauge", func() bool { u.watcher.said.failed.Store(false); return u.BegunAgain() })
	future := time.Now().Add(time.Minute).UnixMilli()
	r.append(item{"a", future, 3})
	r.await("the last sample", func() bool { return w.acknowledged() == 2 })
	if got, want := e.received(), []item{{"a", after + 1, 1}, {"a", future, 3}}; !slices.Equal(got, want) {
		t.Errorf("received %v, want %v", got, want)
	}
}

// manager is where upstream finds a scrape manager.
type manager struct{ *scrape.Manager }

// Get implements remote.ReadyScrapeManager.
func (m manager) Get() (*scrape.Manager, error) { return m.Manager, nil }

var _ remote.ReadyScrapeManager = manager{}

// TestContractMetadata: requests that carry metadata only are not told to the
// observer, and are not items.
func TestContractMetadata(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "# HELP up_total Help.\n# TYPE up_total counter\nup_total 1\n")
	}))
	defer target.Close()
	r.opts.ScrapeManager = manager{r.scrape(target.URL, "")}
	var w watch
	u := r.start(e.entry(t, "one", func(c *config.RemoteWriteConfig) {
		c.MetadataConfig.Send = true
		c.MetadataConfig.SendInterval = model.Duration(20 * time.Millisecond)
	}), w.observer())
	r.await("metadata and samples", func() bool {
		e.mtx.Lock()
		defer e.mtx.Unlock()
		return e.metadata > 0 && len(e.items) > 0
	})
	if err := u.Stop(); err != nil {
		t.Error(err)
	}
	announced, ended := w.seen()
	if slices.Contains(announced, 0) || len(announced) != len(ended) {
		t.Errorf("announced %v, ended %v", announced, ended)
	}
}
