package delivery

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// exposition appends one scrape of everything that a target can show.
func (r *rig) exposition(n int, at time.Time) {
	r.t.Helper()
	app := r.append.AppenderV2(r.t.Context())
	put := func(name string, st int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, o storage.AppendV2Options, more ...string) {
		r.t.Helper()
		ls := labels.FromStrings(append([]string{"__name__", name, "job", "j", "site", "own", "tmp_x", "y"}, more...)...)
		ref, err := app.Append(r.refs[ls.String()], ls, st, at.UnixMilli(), v, h, fh, o)
		if err != nil {
			r.t.Fatal(err)
		}
		r.refs[ls.String()] = ref
	}
	gauge := storage.AppendV2Options{MetricFamilyName: "temperature_celsius", Metadata: metadata.Metadata{Type: model.MetricTypeGauge, Unit: "celsius", Help: "How warm it is."}}
	counter := storage.AppendV2Options{MetricFamilyName: "requests", Metadata: metadata.Metadata{Type: model.MetricTypeCounter, Help: "How many came."}}
	withExemplar := counter
	withExemplar.Exemplars = []exemplar.Exemplar{{Labels: labels.FromStrings("trace_id", fmt.Sprint(n)), Value: float64(n), Ts: at.UnixMilli(), HasTs: true}}
	start := at.Add(-time.Hour).UnixMilli()
	for i := range 5 {
		put("temperature_celsius", 0, float64(n*i)+.5, nil, nil, gauge, "room", fmt.Sprint(i))
	}
	put("requests_total", start, float64(n), nil, nil, withExemplar)
	put("go_dropped", 0, 1, nil, nil, storage.AppendV2Options{})
	stale := float64(n)
	if n%4 == 3 {
		stale = math.Float64frombits(value.StaleNaN)
	}
	put("comes_and_goes", 0, stale, nil, nil, storage.AppendV2Options{})
	put("int_histogram", start, 0, tsdbutil.GenerateTestHistogram(int64(n)), nil, storage.AppendV2Options{})
	put("float_histogram", 0, 0, nil, tsdbutil.GenerateTestFloatHistogram(int64(n)), storage.AppendV2Options{})
	put("custom_buckets", 0, 0, tsdbutil.GenerateTestCustomBucketsHistogram(int64(n)), nil, storage.AppendV2Options{})
	// A series that is a float one time and a histogram the next.
	if n%2 == 0 {
		put("changes", 0, float64(n), nil, nil, storage.AppendV2Options{})
	} else {
		put("changes", 0, 0, tsdbutil.GenerateTestHistogram(int64(n)), nil, storage.AppendV2Options{})
	}
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

// told is everything that an endpoint holds, a line for each thing.
func told(e *agenttest.Endpoint) []string {
	var out []string
	s := e.Snapshot()
	for _, series := range s.Series() {
		for _, x := range series.Samples {
			switch {
			case x.H != nil:
				out = append(out, fmt.Sprintf("%s %d %s", series.Labels, x.T, x.H))
			case x.FH != nil:
				out = append(out, fmt.Sprintf("%s %d float %s", series.Labels, x.T, x.FH))
			default:
				out = append(out, fmt.Sprintf("%s %d %x", series.Labels, x.T, x.V))
			}
		}
		for _, x := range series.Exemplars {
			out = append(out, fmt.Sprintf("%s exemplar %+v", series.Labels, x))
		}
	}
	for name, m := range s.Metadata() {
		out = append(out, fmt.Sprintf("%s %+v", name, m))
	}
	slices.Sort(out)
	return out
}

const relabelling = `    send_exemplars: true
    send_native_histograms: true
    write_relabel_configs:
      - {source_labels: [__name__], regex: go_.*, action: drop}
      - {source_labels: [site], target_label: place}
      - {regex: tmp_.*, action: labeldrop}
`

// TestSameLiveAndDrained: the same exposition, sent by upstream's queue and drained
// from the backlog, in requests of several scrapes, arrives as the same.
func TestSameLiveAndDrained(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1.0", "2.0"} {
		for _, typeAndUnit := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, type and unit labels %t", version, typeAndUnit), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, agenttest.Manners{RemoteWrite2: agenttest.AcceptRemoteWrite2})
				r.addDestination("drained", agenttest.Manners{RemoteWrite2: agenttest.AcceptRemoteWrite2})
				r.global = "  external_labels: {site: b, region: r}"
				r.options.TypeAndUnitLabels = typeAndUnit
				r.options.MinStay = time.Hour
				for name := range r.endpoints {
					r.extra[name] = relabelling
					if version == "2.0" {
						r.extra[name] += "    protobuf_message: io.prometheus.write.v2.Request\n"
					}
				}
				r.open()
				r.awaitState("one", Live)
				r.awaitState("drained", Live)
				r.goBehind("drained")
				const scrapes = 40
				for n := range scrapes {
					r.exposition(n, r.next())
				}
				r.endpoints["drained"].Recover()
				live, drained := r.awaitSettled("one"), r.awaitSettled("drained")
				if s := r.status("drained"); s.State != Behind {
					t.Fatalf("it is %s", s.State)
				}
				if s := r.status("one"); s.State != Live {
					t.Fatalf("it is %s: %s", s.State, s.Why)
				}
				if fmt.Sprint(live) != fmt.Sprint(drained) {
					t.Errorf("the ledgers differ:\n%+v\n%+v", live, drained)
				}
				a, b := told(r.endpoints["one"]), told(r.endpoints["drained"])
				if !slices.Equal(a, b) {
					t.Errorf("live and drained differ: %s", difference(a, b))
				}
				wanted := []string{`site="own"`, `region="r"`, `place="own"`, "exemplar", "custom_buckets", "changes"}
				if version == "1.0" {
					wanted = slices.DeleteFunc(wanted, func(w string) bool { return w == "custom_buckets" })
				} else if !typeAndUnit {
					wanted = append(wanted, "How warm it is.", "celsius")
				}
				for _, want := range wanted {
					if !strings.Contains(strings.Join(a, "\n"), want) {
						t.Errorf("there is no %s in it", want)
					}
				}
				if strings.Contains(strings.Join(a, "\n"), "go_dropped") || strings.Contains(strings.Join(a, "\n"), "tmp_x") {
					t.Error("relabelling was not applied")
				}
			})
		}
	}
}

// difference says what only one of two sorted lists has.
func difference(a, b []string) string {
	var out []string
	for _, line := range a {
		if _, ok := slices.BinarySearch(b, line); !ok {
			out = append(out, "live only: "+line)
		}
	}
	for _, line := range b {
		if _, ok := slices.BinarySearch(a, line); !ok {
			out = append(out, "drained only: "+line)
		}
	}
	return fmt.Sprintf("%d lines:\n%s", len(out), strings.Join(out[:min(len(out), 6)], "\n"))
}
