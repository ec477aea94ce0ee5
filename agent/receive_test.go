package agent_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/receive"
)

const (
	typeV1 = "application/x-protobuf;proto=prometheus.WriteRequest"
	typeV2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
)

// pushed is a sample that a program sends.
type pushed struct {
	labels labels.Labels
	t      time.Time
	v      float64
}

// series of a program, from a number to another, all at one time.
func seriesAt(t time.Time, from, to int) (out []pushed) {
	for i := from; i < to; i++ {
		out = append(out, pushed{labels.FromStrings("__name__", "pushed", "i", strconv.Itoa(i), "job", "app"), t, float64(i)})
	}
	return out
}

// encode makes a request of a version of remote write.
func encode(version string, samples []pushed) []byte {
	var v1 prompb.WriteRequest
	var v2 writev2.Request
	symbols := writev2.NewSymbolTable()
	for _, s := range samples {
		v1.Timeseries = append(v1.Timeseries, prompb.TimeSeries{Labels: prompb.FromLabels(s.labels, nil), Samples: []prompb.Sample{{Timestamp: s.t.UnixMilli(), Value: s.v}}})
		v2.Timeseries = append(v2.Timeseries, writev2.TimeSeries{LabelsRefs: symbols.SymbolizeLabels(s.labels, nil), Samples: []writev2.Sample{{Timestamp: s.t.UnixMilli(), Value: s.v}}})
	}
	v2.Symbols = symbols.Symbols()
	b, err := v1.Marshal()
	if version == "2.0" {
		b, err = v2.Marshal()
	}
	if err != nil {
		panic(err)
	}
	return snappy.Encode(nil, b)
}

// answered is what the agent says to a program.
type answered struct {
	code   int
	header http.Header
	body   string
}

// push sends samples to the agent.
func (r *rig) push(version string, samples []pushed) answered {
	r.t.Helper()
	return r.pushAs("", version, samples)
}

// pushAs is push for a tenant, if it has a name.
func (r *rig) pushAs(tenant, version string, samples []pushed) answered {
	r.t.Helper()
	contentType := typeV1
	if version == "2.0" {
		contentType = typeV2
	}
	header := http.Header{"Content-Type": {contentType}, "Content-Encoding": {"snappy"}, "X-Prometheus-Remote-Write-Version": {version + ".0"}}
	if tenant != "" {
		header.Set("X-Scope-OrgID", tenant)
	}
	a, err := r.post("/api/v1/write", encode(version, samples), header)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) post(path string, body []byte, header http.Header) (answered, error) {
	req, err := http.NewRequest("POST", "http://"+r.addr+path, bytes.NewReader(body))
	if err != nil {
		return answered{}, err
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answered{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answered{resp.StatusCode, resp.Header, string(b)}, err
}

func (r *rig) senders() (all []receive.Sender) {
	r.t.Helper()
	b, _, err := r.get("/senders")
	if err != nil {
		r.t.Fatal(err)
	}
	if err := json.Unmarshal(b, &all); err != nil {
		r.t.Fatal(err)
	}
	return all
}

// awaitPushed waits until samples are stored at the endpoint.
func (r *rig) awaitPushed(want []pushed) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%d pushed samples to arrive", len(want)), func() error {
		stored := r.endpoint.Snapshot().Series(labels.MustNewMatcher(labels.MatchEqual, "__name__", "pushed"))
		for _, p := range want {
			found := slices.ContainsFunc(stored, func(s agenttest.Series) bool {
				return s.Labels.Get("i") == p.labels.Get("i") && slices.ContainsFunc(s.Samples, func(got agenttest.Sample) bool {
					return got.T == p.t.UnixMilli() && got.V == p.v
				})
			})
			if !found {
				return fmt.Errorf("%s at %s is not there", p.labels, p.t)
			}
		}
		return nil
	})
}

// TestReceiver: what programs send is answered as the specification of remote write says,
// and as Prometheus does.
func TestReceiver(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.Receive.BodySize = 1 << 20
	r.start()
	now := time.Now()
	good := encode("1.0", seriesAt(now, 0, 1))
	other := seriesAt(now, 0, 1)
	other[0].v++
	unnamed := []pushed{{labels.FromStrings("i", "1"), now, 1}}
	v1 := func(extra ...string) http.Header {
		h := http.Header{"Content-Type": {"application/x-protobuf"}, "Content-Encoding": {"snappy"}}
		for i := 0; i < len(extra); i += 2 {
			h.Set(extra[i], extra[i+1])
			if extra[i+1] == "" {
				h.Del(extra[i])
			}
		}
		return h
	}
	for _, tc := range []struct {
		name   string
		body   []byte
		header http.Header
		code   int
		words  string
	}{
		{"no parameter is 1.0", good, v1(), 204, ""},
		{"the same once more", good, v1(), 204, ""},
		{"another value of that time", encode("1.0", other), v1(), 400, "out of order"},
		{"1.0 by its name", encode("1.0", seriesAt(now, 1, 2)), v1("Content-Type", typeV1), 204, ""},
		{"no type is 1.0", encode("1.0", seriesAt(now, 2, 3)), v1("Content-Type", ""), 204, ""},
		{"another type", good, v1("Content-Type", "text/plain"), 415, "expected application/x-protobuf"},
		{"another message", good, v1("Content-Type", "application/x-protobuf;proto=a.B"), 415, "a.B"},
		{"another compression", good, v1("Content-Encoding", "gzip"), 415, "only snappy is acceptable"},
		{"no snappy", []byte("none"), v1(), 400, "corrupt"},
		{"no message", snappy.Encode(nil, []byte("none")), v1(), 400, ""},
		{"no name, 1.0", encode("1.0", unnamed), v1(), 204, ""}, // as Prometheus: such a series is left out
		{"no name, 2.0", encode("2.0", unnamed), v1("Content-Type", typeV2), 400, "invalid"},
		{"too large", make([]byte, 1<<20+1), v1(), 413, "1048576 bytes"},
		{"too large when it is decompressed", snappy.Encode(nil, make([]byte, 1<<20+1)), v1(), 413, "1048576 bytes"},
		{"too far ahead", encode("1.0", seriesAt(now.Add(time.Hour), 3, 4)), v1(), 400, "out of bounds"},
	} {
		a, err := r.post("/api/v1/write", tc.body, tc.header)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if a.code != tc.code || !strings.Contains(a.body, tc.words) {
			t.Errorf("%s: %d %q", tc.name, a.code, a.body)
		}
	}

	// 2.0 tells how much was written, of a request with some that are bad, too.
	bad := append(seriesAt(now, 4, 10), seriesAt(now.Add(-time.Second), 0, 2)...) // of the last, newer ones are there
	a := r.push("2.0", bad)
	if a.code != 400 || a.header.Get("X-Prometheus-Remote-Write-Samples-Written") != "6" {
		t.Errorf("a part of it: %d %v %q", a.code, a.header, a.body)
	}
	want := slices.Concat(seriesAt(now, 0, 3), seriesAt(now, 4, 10))
	r.awaitPushed(want)
	r.eventually("all to be delivered", func() error {
		l := r.destination("one").Ledger
		if l.Delivered != l.Appended || l.Appended != uint64(len(want)) || l.Rejected["out_of_order"] != 3 || l.Rejected["too_far_ahead"] != 1 || l.Rejected["invalid"] != 2 || ledger.Total(l.Rejected) != 6 {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	s := r.senders()
	app := slices.IndexFunc(s, func(s receive.Sender) bool { return s.Job == "app" })
	if app < 0 || s[app].Samples != uint64(len(want)) || s[app].Rejected != 3 || s[app].Address != "127.0.0.1" {
		t.Errorf("senders: %+v", s)
	}
}

// TestReceivedSurvives: what was answered with 2xx arrives, though the agent is killed at
// once; after a retry, too, of which the sender does not know that it was taken before.
func TestReceivedSurvives(t *testing.T) {
	t.Parallel()
	for _, synced := range []bool{false, true} {
		t.Run(fmt.Sprintf("sync %v", synced), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			r.options.Receive.Sync = synced
			if err := r.endpoint.Down(); err != nil {
				t.Fatal(err)
			}
			var all []pushed
			again := 0
			for i := range 4 {
				r.start()
				batch := seriesAt(time.Now(), 0, 50)
				if a := r.push([]string{"1.0", "2.0"}[i%2], batch); a.code != 204 {
					t.Fatalf("%d %q", a.code, a.body)
				}
				all = append(all, batch...)
				r.kill()
				if i%2 == 1 {
					r.start()
					for _, code := range []int{204, 204} { // this run does not have it yet, and then it has
						if a := r.push("1.0", batch); a.code != code {
							t.Errorf("once more: %d %q", a.code, a.body)
						}
					}
					again += len(batch)
					r.kill()
				}
			}
			if err := r.endpoint.Up(); err != nil {
				t.Fatal(err)
			}
			r.start()
			r.awaitPushed(all)
			r.eventually("the ledger to add up", func() error {
				if l := r.destination("one").Ledger; l.Delivered != l.Appended || l.Appended != uint64(len(all)+again) {
					return fmt.Errorf("%+v", l)
				}
				return nil
			})
		})
	}
}

// TestReceiveLater: what cannot be taken now is not taken in part, and the sender is told to
// come again.
func TestReceiveLater(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options func(*childOptions)
		first   int // series that are taken before
		code    int
		words   string
	}{
		"disk":               {func(o *childOptions) { o.MinFreeBytes = 1 << 60 }, 0, 503, "its disk is full"},
		"max series":         {func(o *childOptions) { o.Limits.MaxSeries = 100 }, 20, 429, "--limits.max-series"},
		"sender series":      {func(o *childOptions) { o.Receive.MaxSeries = 30 }, 20, 429, "--receive.max-series"},
		"sender rate":        {func(o *childOptions) { o.Receive.MaxRate = 3 }, 20, 503, "--receive.max-rate"},
		"half of the series": {func(o *childOptions) { o.Limits.MaxSeries = 380 }, 20, 429, "--limits.max-series"},
		"memory":             {func(o *childOptions) { o.Receive.Memory, o.Receive.BodySize = 1, 100 }, 0, 413, "100 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			tc.options(&r.options)
			r.start()
			at := time.Now()
			if tc.first > 0 {
				if a := r.push("1.0", seriesAt(at, 0, tc.first)); a.code != 204 {
					t.Fatalf("%d %q", a.code, a.body)
				}
			}
			for _, version := range []string{"1.0", "2.0"} {
				a := r.push(version, seriesAt(at.Add(time.Second), 0, 200))
				if a.code != tc.code || !strings.Contains(a.body, tc.words) || (a.header.Get("Retry-After") == "") != (tc.code == 413) {
					t.Errorf("%s: %d %v %q", version, a.code, a.header, a.body)
				}
			}
			r.eventually("what was taken to be delivered", func() error {
				if l := r.destination("one").Ledger; l.Appended != uint64(tc.first) || l.NotAppended+ledger.Total(l.Rejected) != 0 || l.Delivered != uint64(tc.first) {
					return fmt.Errorf("%+v", l)
				}
				return nil
			})
			s := r.senders()
			if last := s[len(s)-1]; last.Declined == 0 || last.LastError == "" {
				t.Errorf("%+v", s)
			}
		})
	}
}

// free returns an address of this host that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	targets, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer targets.Close()
	return cmp.Or(targets.Addr())
}

// slowBody is a body of which some bytes come, and then nothing until it is closed.
type slowBody struct {
	begin io.Reader
	done  <-chan struct{}
}

func (b *slowBody) Read(p []byte) (int, error) {
	if n, err := b.begin.Read(p); err == nil {
		return n, nil
	}
	<-b.done
	return 0, io.ErrUnexpectedEOF
}

// TestHostileSender: whatever a local program sends, no sample of a target is lost, and the
// memory stays within bounds.
func TestHostileSender(t *testing.T) {
	t.Parallel()
	const memory = 128 << 20
	r := newRig(t, agenttest.Manners{})
	r.env = append(r.env, fmt.Sprintf("GOMEMLIMIT=%d", memory))
	r.options.Receive = receiveOptions{BodySize: 8 << 20, Memory: memory / 8, MaxSeries: 3000, MaxRate: 10_000}
	target := r.targets.Add("one", agenttest.TargetOptions{Series: 200})
	r.start()
	r.awaitScrapes(target, 2)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 50}}
	t.Cleanup(client.CloseIdleConnections)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var codes sync.Map
	send := func(body io.Reader) {
		req, err := http.NewRequestWithContext(ctx, "POST", "http://"+r.addr+"/api/v1/write", body)
		if err != nil {
			panic(err)
		}
		req.Header = http.Header{"Content-Encoding": {"snappy"}}
		if resp, err := client.Do(req); err == nil {
			codes.Store(resp.StatusCode, true)
			resp.Body.Close()
		}
	}
	var hostile sync.WaitGroup
	for range 1000 { // slow bodies, each with a connection
		hostile.Go(func() { send(&slowBody{bytes.NewReader(make([]byte, 100)), ctx.Done()}) })
	}
	for worker := range 8 {
		hostile.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				switch i % 3 {
				case 0: // 100 MB
					send(io.LimitReader(zeros{}, 100<<20))
				case 1: // a bomb
					send(bytes.NewReader(snappy.Encode(nil, make([]byte, 10<<20))))
				default: // a million series
					from := (i*8 + worker) * 4000
					send(bytes.NewReader(encode("1.0", seriesAt(time.Now(), from, from+4000))))
				}
			}
		})
	}
	r.awaitScrapes(target, 20)
	cancel()
	hostile.Wait()
	r.awaitAll(r.endpoint, target)
	for _, code := range []int{413, 429, 503} {
		if _, got := codes.Load(code); !got {
			t.Errorf("nothing was answered with %d", code)
		}
	}
	if s := r.status(); s.Storage.ActiveSeries > 3000+300 {
		t.Errorf("%d series", s.Storage.ActiveSeries)
	}
	most := int64(2 * memory)
	if underRace() {
		most *= 8 // its memory is ten times as much at the most (https://go.dev/doc/articles/race_detector)
	}
	if peak := r.peak(); peak > most {
		t.Errorf("%d bytes of memory at the most", peak)
	}
}

// underRace reports whether the race detector is on.
func underRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// zeros is a body without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
