package agenttest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang/snappy"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startEndpoint(t testing.TB, o Options) *Endpoint {
	t.Helper()
	e, err := NewEndpoint(o)
	require.NoError(t, err)
	t.Cleanup(e.Close)
	return e
}

// sender is upstream's write client.
type sender struct {
	t      testing.TB
	client remote.WriteClient
}

func newSender(t testing.TB, e *Endpoint, change ...func(*remote.ClientConfig)) sender {
	t.Helper()
	u, err := url.Parse(e.URL())
	require.NoError(t, err)
	config := &remote.ClientConfig{
		URL:     &config_util.URL{URL: u},
		Timeout: model.Duration(10 * time.Second),
		HTTPClientConfig: config_util.HTTPClientConfig{
			Authorization: &config_util.Authorization{Type: "Bearer", Credentials: DefaultToken},
			TLSConfig:     config_util.TLSConfig{CA: string(e.CA())},
		},
	}
	for _, c := range change {
		c(config)
	}
	client, err := remote.NewWriteClient("test", config)
	require.NoError(t, err)
	return sender{t, client}
}

func encode(t testing.TB, req interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	raw, err := req.Marshal()
	require.NoError(t, err)
	return snappy.Encode(nil, raw)
}

func (s sender) write(series ...prompb.TimeSeries) error {
	s.t.Helper()
	_, err := s.client.Store(s.t.Context(), encode(s.t, &prompb.WriteRequest{Timeseries: series}), 0)
	return err
}

func token(token string) func(*remote.ClientConfig) {
	return func(c *remote.ClientConfig) {
		c.HTTPClientConfig.Authorization.Credentials = config_util.Secret(token)
	}
}

func remoteWrite2(c *remote.ClientConfig) { c.WriteProtoMsg = remoteapi.WriteV2MessageType }

// ts is a series of floats: ts(name, t1, v1, t2, v2, …).
func ts(name string, timesAndValues ...float64) prompb.TimeSeries {
	series := prompb.TimeSeries{Labels: []prompb.Label{{Name: "__name__", Value: name}, {Name: "job", Value: "j"}}}
	for i := 0; i < len(timesAndValues); i += 2 {
		series.Samples = append(series.Samples, prompb.Sample{Timestamp: int64(timesAndValues[i]), Value: timesAndValues[i+1]})
	}
	return series
}

func byName(name string) *labels.Matcher {
	return labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, name)
}

// floats are the stored times and values of one series.
func floats(t testing.TB, s *Snapshot, name string) (timesAndValues []float64) {
	t.Helper()
	found := s.Series(byName(name))
	require.LessOrEqual(t, len(found), 1)
	for _, series := range found {
		for _, sample := range series.Samples {
			timesAndValues = append(timesAndValues, float64(sample.T), sample.V)
		}
	}
	return timesAndValues
}

func TestAccepted(t *testing.T) {
	e := startEndpoint(t, Options{})
	s := newSender(t, e)
	before := time.Now().Truncate(time.Millisecond)
	require.NoError(t, s.write())
	require.NoError(t, s.write(ts("up", 1000, 1, 2000, 2), ts("down", 1000, 5)))

	snap := e.Snapshot()
	require.EqualValues(t, 3, snap.Accepted)
	require.EqualValues(t, 3, snap.Acknowledged())
	require.Equal(t, map[int]Tally{200: {Requests: 2, Samples: 3}}, snap.Answers)
	require.Equal(t, 1, snap.MaxInFlight)
	require.Equal(t, []string{DefaultTenant}, snap.Tenants())
	require.Equal(t, []float64{1000, 1, 2000, 2}, floats(t, snap, "up"))
	up := snap.Tenant(DefaultTenant).Series(byName("up"))[0]
	require.Equal(t, `{__name__="up", job="j"}`, up.Labels.String())
	require.WithinRange(t, up.Samples[0].At, before, time.Now())
	require.EqualValues(t, [4]float64{2, 1000, 2000, 3}, [4]float64{float64(up.Count), float64(up.First), float64(up.Last), up.Sum})
	require.Empty(t, snap.Tenant("other").Series())
	require.Equal(t, "1.0", snap.Requests[1].Version)
	require.Equal(t, 3, snap.Requests[1].Samples)
	require.NoError(t, snap.CheckInOrder())
}

// post shows the whole response, of which upstream's client keeps a part.
func post(t testing.TB, e *Endpoint, target string, body []byte, header http.Header) (int, http.Header, string) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(e.CA())
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequest(http.MethodPost, target, bytes.NewReader(body))
	require.NoError(t, err)
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header, string(answer)
}

func authorized() http.Header { return http.Header{"Authorization": {"Bearer " + DefaultToken}} }

func TestAnswersBeforeCortex(t *testing.T) {
	e := startEndpoint(t, Options{Tokens: map[string]string{DefaultTenant: DefaultToken, "other": "o"}})
	good := encode(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{ts("up", 1, 1)}})

	status, _, body := post(t, e, e.URL(), good, nil)
	require.Equal(t, 401, status)
	require.Equal(t, "Authorization header missing", body)
	status, _, body = post(t, e, e.URL(), good, http.Header{"Authorization": {"Basic eDp5"}})
	require.Equal(t, 401, status)
	require.Contains(t, body, "Authorization header format invalid")
	status, _, body = post(t, e, e.URL(), good, http.Header{"Authorization": {"Bearer nobody's"}})
	require.Equal(t, 401, status)
	require.Equal(t, "bad authentication token", body)

	status, header, body := post(t, e, e.PlainURL()+"?a=b", good, authorized())
	require.Equal(t, 308, status)
	require.Equal(t, e.URL()+"?a=b", header.Get("Location"))
	require.Contains(t, body, "<center>nginx</center>")

	status, header, body = post(t, e, e.URL(), make([]byte, 2<<20), authorized())
	require.Equal(t, 413, status)
	require.Equal(t, "text/html", header.Get("Content-Type"))
	require.Contains(t, body, "<title>413 Request Entity Too Large</title>")

	for _, bad := range [][]byte{[]byte("not snappy"), snappy.Encode(nil, []byte("not protobuf"))} {
		status, _, _ = post(t, e, e.URL(), bad, authorized())
		require.Equal(t, 400, status)
	}
	status, _, body = post(t, e, e.URL(), good, authorized())
	require.Equal(t, 200, status)
	require.Empty(t, body)
	require.EqualValues(t, 1, e.Snapshot().Accepted)
}

func TestTokens(t *testing.T) {
	e := startEndpoint(t, Options{})
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(DefaultToken+"\n"), 0o600))
	s := newSender(t, e, func(c *remote.ClientConfig) {
		c.HTTPClientConfig.Authorization = &config_util.Authorization{Type: "Bearer", CredentialsFile: file}
	})
	require.NoError(t, s.write(ts("up", 1, 1)))
	e.SetToken(DefaultTenant)
	require.EqualError(t, s.write(ts("up", 2, 1)), "server returned HTTP status 401 Unauthorized: bad authentication token")
	e.SetToken(DefaultTenant, "new", "newer")
	require.NoError(t, os.WriteFile(file, []byte("newer"), 0o600))
	require.NoError(t, s.write(ts("up", 3, 1)))
	require.Equal(t, []float64{1, 1, 3, 1}, floats(t, e.Snapshot(), "up"))

	e.SetToken("other", "o")
	require.NoError(t, newSender(t, e, token("o")).write(ts("up", 1, 7)))
	require.Equal(t, []float64{1, 7}, floats(t, e.Snapshot().Tenant("other"), "up"))
	require.Equal(t, []string{DefaultTenant, "other"}, e.Snapshot().Tenants())

	e.SetToken("open", "")
	status, _, _ := post(t, e, e.URL(), encode(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{ts("up", 1, 1)}}), nil)
	require.Equal(t, 200, status)
	require.EqualValues(t, 1, e.Snapshot().Tenant("open").Accepted)
}

func TestPlainHTTP(t *testing.T) {
	e := startEndpoint(t, Options{PlainHTTP: true})
	require.Equal(t, e.URL(), e.PlainURL())
	require.True(t, strings.HasPrefix(e.URL(), "http://127.0.0.1:"))
	require.NoError(t, newSender(t, e).write(ts("up", 1, 1)))
	require.EqualValues(t, 1, e.Snapshot().Accepted)
}

func TestConnectionsEndAfter100Requests(t *testing.T) {
	e := startEndpoint(t, Options{})
	s := newSender(t, e)
	var fresh []int
	for i := range 201 {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
			if !c.Reused {
				fresh = append(fresh, i)
			}
		}})
		_, err := s.client.Store(ctx, encode(t, &prompb.WriteRequest{}), 0)
		require.NoError(t, err)
	}
	require.Equal(t, []int{0, 100, 200}, fresh)
}

func TestRemoteWrite2(t *testing.T) {
	symbols := writev2.NewSymbolTable()
	refs := symbols.SymbolizeLabels(labels.FromStrings("__name__", "up", "job", "j"), nil)
	h := histogram.Histogram{Count: 2, Sum: 3, ZeroCount: 2}
	req := &writev2.Request{Timeseries: []writev2.TimeSeries{{
		LabelsRefs: refs,
		Samples:    []writev2.Sample{{Timestamp: 1, Value: 7}},
		Histograms: []writev2.Histogram{writev2.FromIntHistogram(0, 2, &h), writev2.FromFloatHistogram(0, 3, h.ToFloat(nil))},
		Exemplars:  []writev2.Exemplar{{LabelsRefs: symbols.SymbolizeLabels(labels.FromStrings("trace_id", "x"), nil), Value: 1, Timestamp: 1}},
		Metadata:   writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_GAUGE, HelpRef: symbols.Symbolize("Up.")},
	}}}
	req.Symbols = symbols.Symbols()
	body := encode(t, req)

	e := startEndpoint(t, Options{})
	s := newSender(t, e, remoteWrite2)
	_, err := s.client.Store(s.t.Context(), body, 0)
	require.ErrorContains(t, err, "415 Unsupported Media Type")
	require.EqualValues(t, Tally{Requests: 1, Samples: 3}, e.Snapshot().Answers[415])

	e.SetManners(Manners{RemoteWrite2: IgnoreRemoteWrite2})
	stats, err := s.client.Store(s.t.Context(), body, 0)
	require.NoError(t, err)
	require.False(t, stats.Confirmed)
	require.Zero(t, e.Snapshot().Accepted)

	e.SetManners(Manners{RemoteWrite2: AcceptRemoteWrite2})
	stats, err = s.client.Store(s.t.Context(), body, 0)
	require.NoError(t, err)
	require.Equal(t, remote.WriteResponseStats{Samples: 1, Histograms: 2, Exemplars: 1, Confirmed: true}, stats)
	up := e.Snapshot().Series(byName("up"))[0]
	require.Equal(t, 7.0, up.Samples[0].V)
	require.True(t, h.Equals(up.Samples[1].H))
	require.True(t, h.ToFloat(nil).Equals(up.Samples[2].FH))
	require.Equal(t, "x", up.Exemplars[0].Labels.Get("trace_id"))
	require.Equal(t, map[string]metadata.Metadata{"up": {Type: "gauge", Help: "Up."}}, e.Snapshot().Metadata())

	// Of a request refused in part, the headers tell the part that was written.
	stats, err = s.client.Store(s.t.Context(), body, 0)
	require.ErrorContains(t, err, "400 Bad Request: user=default: err: out of order sample")
	require.Equal(t, remote.WriteResponseStats{Histograms: 1, Exemplars: 1, Confirmed: true}, stats)
	require.EqualValues(t, 1, e.Snapshot().DuplicateExemplars)
}

func TestEverythingInARequest(t *testing.T) {
	e := startEndpoint(t, Options{})
	h := histogram.Histogram{Count: 2, Sum: 3, ZeroCount: 2}
	req := &prompb.WriteRequest{
		Timeseries: []prompb.TimeSeries{{
			Labels:     []prompb.Label{{Name: "b", Value: "1"}, {Name: "__name__", Value: "h"}},
			Histograms: []prompb.Histogram{prompb.FromIntHistogram(1, &h), prompb.FromFloatHistogram(2, h.ToFloat(nil))},
			Samples:    nil,
			Exemplars:  []prompb.Exemplar{{Labels: []prompb.Label{{Name: "trace_id", Value: "x"}}, Value: 1, Timestamp: 1}},
		}},
		Metadata: []prompb.MetricMetadata{{Type: prompb.MetricMetadata_GAUGEHISTOGRAM, MetricFamilyName: "h", Help: "H.", Unit: "s"}},
	}
	s := newSender(t, e)
	_, err := s.client.Store(s.t.Context(), encode(t, req), 0)
	require.NoError(t, err)
	require.NoError(t, s.write(prompb.TimeSeries{
		Labels:  []prompb.Label{{Name: "__name__", Value: "h"}, {Name: "b", Value: "1"}},
		Samples: []prompb.Sample{{Timestamp: 3, Value: math64(value.StaleNaN)}},
	}))
	found := e.Snapshot().Series(byName("h"))
	require.Len(t, found, 1, "labels are sorted")
	require.True(t, h.Equals(found[0].Samples[0].H))
	require.True(t, h.ToFloat(nil).Equals(found[0].Samples[1].FH))
	require.True(t, value.IsStaleNaN(found[0].Samples[2].V))
	require.Len(t, found[0].Exemplars, 1)
	require.Equal(t, metadata.Metadata{Type: model.MetricTypeGaugeHistogram, Help: "H.", Unit: "s"}, e.Snapshot().Metadata()["h"])

	bad := h
	bad.Count = 1
	req.Timeseries[0].Histograms = []prompb.Histogram{prompb.FromIntHistogram(4, &bad)}
	_, err = s.client.Store(s.t.Context(), encode(t, req), 0)
	require.ErrorContains(t, err, "400 Bad Request: user=default: err: invalid histogram")
	require.EqualValues(t, 1, e.Snapshot().Refused[BadHistogram])
}

// A new client each time: one with an idle connection may not know yet that
// the endpoint has closed it, and fails with that.
func TestDownAndUp(t *testing.T) {
	e := startEndpoint(t, Options{})
	require.NoError(t, newSender(t, e).write(ts("up", 1, 1)))
	address := e.URL()
	for range 3 {
		require.NoError(t, e.Down())
		require.NoError(t, e.Down())
		err := newSender(t, e).write(ts("up", 2, 1))
		require.ErrorContains(t, err, "connection refused")
		require.ErrorAs(t, err, new(remote.RecoverableError))
		require.NoError(t, e.Up())
		require.NoError(t, e.Up())
		require.Equal(t, address, e.URL())
		require.NoError(t, newSender(t, e).write(ts("up", 2, 1)))
	}
	require.Equal(t, []float64{1, 1, 2, 1}, floats(t, e.Snapshot(), "up"))
	require.NoError(t, e.Down())
	e.Close()
	e.Close()
}

func TestDownOnIPv6(t *testing.T) {
	e, err := NewEndpoint(Options{Addr: "[::1]:0"})
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(e.Close)
	require.NoError(t, e.Down())
	require.ErrorContains(t, newSender(t, e).write(ts("up", 1, 1)), "connection refused")
	require.NoError(t, e.Up())
	require.NoError(t, newSender(t, e).write(ts("up", 1, 1)))
}

// An outgoing connection must not get the port of an endpoint that is down. Here
// the kernel has no other port to choose.
func TestDownKeepsThePort(t *testing.T) {
	down, up := startEndpoint(t, Options{}), startEndpoint(t, Options{})
	require.NoError(t, down.Down())
	port := down.fronts[0].addr.Port
	var unsupported error
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		const ipLocalPortRange = 51 // Linux 6.3
		return c.Control(func(fd uintptr) {
			unsupported = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipLocalPortRange, port<<16|port)
		})
	}}
	_, err := dialer.Dial("tcp", up.fronts[0].addr.String())
	if unsupported != nil {
		t.Skip(unsupported)
	}
	require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
}

func TestTLS(t *testing.T) {
	e := startEndpoint(t, Options{})
	careless := func(c *remote.ClientConfig) {
		c.HTTPClientConfig.TLSConfig = config_util.TLSConfig{InsecureSkipVerify: true}
	}
	for i, tc := range []struct {
		state             TLSState
		careful, careless string
	}{
		{TLSTrusted, "", ""},
		{TLSUntrusted, "x509: certificate signed by unknown authority", ""},
		{TLSRefused, "remote error: tls", "remote error: tls"},
		{TLSTrusted, "", ""},
	} {
		e.SetTLS(tc.state)
		for want, s := range map[string]sender{tc.careful: newSender(t, e), tc.careless: newSender(t, e, careless)} {
			if err := s.write(ts("up", float64(i), 1)); want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, want)
			}
		}
	}
	require.Equal(t, []float64{0, 1, 1, 1, 3, 1}, floats(t, e.Snapshot(), "up"))
}

func TestTLSMeetsIdleConnections(t *testing.T) {
	e := startEndpoint(t, Options{})
	s := newSender(t, e)
	require.NoError(t, s.write(ts("up", 1, 1)))
	e.SetTLS(TLSUntrusted)
	require.Error(t, s.write(ts("up", 2, 1)))
	require.ErrorContains(t, s.write(ts("up", 2, 1)), "x509")
}
