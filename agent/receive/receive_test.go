package receive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// TestPool: requests of one address leave half to the others, however many and slow they are,
// and one alone may have all.
func TestPool(t *testing.T) {
	t.Parallel()
	p := newPool(100)
	for i, tc := range []struct {
		address string
		has, n  int64
		want    bool
	}{
		{"a", 0, 40, true},
		{"a", 0, 20, false}, // another request of it
		{"a", 0, 10, true},
		{"a", 40, 10, false},
		{"b", 0, 50, true},
		{"b", 50, 1, false}, // all is taken
	} {
		if got := p.take(tc.address, tc.has, tc.n); got != tc.want {
			t.Errorf("step %d: %t", i, got)
		}
	}
	p.giveBack("a", 50)
	if !p.take("b", 50, 50) {
		t.Error("one request alone may not have all")
	}
	p.giveBack("b", 100)
	if p.free != 100 || len(p.byAddress) != 0 {
		t.Errorf("%+v", p)
	}
}

// TestRateOfLargeRequests: who sends much at once waits for all of it.
func TestRateOfLargeRequests(t *testing.T) {
	t.Parallel()
	as := newAllowances(0, 10) // 100 within ten seconds
	now := time.Now()
	for _, tc := range []struct {
		after time.Duration
		n     uint64
		want  bool
	}{
		{0, 1000, true},
		{10 * time.Second, 1, false},
		{90 * time.Second, 1, false},
		{91 * time.Second, 1, true},
	} {
		if got := as.admit("a", now.Add(tc.after), tc.n); got != tc.want {
			t.Errorf("%d samples after %s: %t", tc.n, tc.after, got)
		}
	}
}

// TestSendersNames: a sender is not known by more than tells it apart, and what it sends is
// not kept.
func TestSendersNames(t *testing.T) {
	t.Parallel()
	s := newSenders()
	s.of("127.0.0.1", labels.FromStrings("job", strings.Repeat("ä", 1<<20), "instance", "1", "other", strings.Repeat("x", 1<<20)))
	all := s.all()
	if len(all) != 1 || len(all[0].Job) > 210 || all[0].Instance != "1" || !strings.HasPrefix(all[0].Job, "ää") {
		t.Errorf("%.300v", all)
	}
}

// TestAnswerIsBounded: upstream's handler names each series that it refuses.
func TestAnswerIsBounded(t *testing.T) {
	t.Parallel()
	a := &answer{}
	for range 1000 {
		if n, err := a.Write(make([]byte, 1000)); n != 1000 || err != nil {
			t.Fatal(n, err)
		}
	}
	if a.body.Len() != mostWords {
		t.Errorf("%d bytes are kept", a.body.Len())
	}
}

func TestSamplesOf(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		request []byte
		f       fields
		want    uint64
	}{
		"nothing":                    {nil, fieldsV1, 0},
		"a series":                   {[]byte{0x0a, 0}, fieldsV1, 0},
		"three samples":              {[]byte{0x0a, 4, 0x12, 0, 0x12, 0, 0x0a, 4, 0x12, 0, 0x1a, 0}, fieldsV1, 3},
		"a histogram":                {[]byte{0x0a, 2, 0x22, 0}, fieldsV1, 1},
		"2.0, of each":               {[]byte{0x22, 0, 0x2a, 6, 0x12, 0, 0x1a, 0, 0x22, 0}, fieldsV2, 2},
		"other fields":               {[]byte{0x08, 1, 0x0a, 4, 0x30, 1, 0x12, 0}, fieldsV1, 1},
		"broken off":                 {[]byte{0x0a, 2, 0x12, 0, 0x0a, 9}, fieldsV1, 1},
		"behind a number of 35 bits": {append(binary.AppendUvarint(nil, (1<<32|7)<<3), 1, 0x0a, 2, 0x12, 0), fieldsV1, 1},
		"broken off deep":            {[]byte{0x0a, 3, 0x12, 0, 0x12}, fieldsV1, 1},
	} {
		if got := samplesOf(tc.request, tc.f); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

// TestTakenForgets: what was taken long ago is not remembered.
func TestTakenForgets(t *testing.T) {
	t.Parallel()
	var known taken
	for i := range mostTaken + 1 {
		known.note(digest{byte(i), byte(i >> 8)}, &delivery.Received{Samples: uint64(i)}, &answer{})
	}
	received := &delivery.Received{}
	if known.again(digest{0, 0}, received) != nil || len(known.byDigest) != mostTaken {
		t.Errorf("%d are remembered", len(known.byDigest))
	}
	if known.again(digest{1, 0}, received) == nil || received.Repeated != 1 {
		t.Errorf("forgotten: %+v", received)
	}
}

// TestDigestOf: a request is another one where anything of it is that decides about it.
func TestDigestOf(t *testing.T) {
	t.Parallel()
	seen := map[digest]bool{}
	for _, header := range []http.Header{{}, {"Content-Type": {"a"}}, {"Content-Encoding": {"a"}}, {http.CanonicalHeaderKey(tenantHeader): {"a"}}} {
		for _, protocol := range []string{"remote_write", otlpName} {
			for _, body := range []string{"", "a"} {
				seen[digestOf(protocol, &http.Request{Header: header}, []byte(body))] = true
			}
		}
	}
	if len(seen) != 16 {
		t.Errorf("%d of 16 differ", len(seen))
	}
}

// TestUnsyncedIsNotTaken: what could not be synced is taken once more in the next run, where it
// can be.
func TestUnsyncedIsNotTaken(t *testing.T) {
	t.Parallel()
	r, err := New(Options{
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), BodySize: 1 << 20,
		Sync: func() error { return errors.New("no disk") },
	})
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("what a sender sends")
	req := httptest.NewRequest(http.MethodPost, "/api/v1/write", bytes.NewReader(body))
	r.taken.note(digestOf("remote_write", req, body), &delivery.Received{Samples: 1}, &answer{header: http.Header{}, code: http.StatusNoContent})
	w := httptest.NewRecorder()
	r.RemoteWrite().ServeHTTP(w, req)
	if w.Code != http.StatusServiceUnavailable || len(r.taken.byDigest) != 0 {
		t.Errorf("%d, and %d are remembered", w.Code, len(r.taken.byDigest))
	}
}
