package selection

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// newTestSelector selects for a remote_write entry; extra lines are indented by
// four spaces.
func newTestSelector(t testing.TB, extra string) *Selector {
	t.Helper()
	discard := slog.New(slog.DiscardHandler)
	cfg, err := config.Load("remote_write:\n  - name: one\n    url: http://127.0.0.1/\n"+extra, discard)
	if err != nil {
		t.Fatal(err)
	}
	e, _, err := remotewrite.NewEndpoint(cfg.RemoteWriteConfigs[0], labels.FromStrings("site", "a"))
	if err != nil {
		t.Fatal(err)
	}
	return New(e, discard)
}

const (
	allKinds    = "    send_exemplars: true\n    send_native_histograms: true\n"
	protobuf2   = "    protobuf_message: io.prometheus.write.v2.Request\n"
	dropDropped = "    write_relabel_configs:\n      - {source_labels: [__name__], regex: dropped, action: drop}\n      - {source_labels: [site], target_label: place}\n      - {regex: site, action: labeldrop}\n"
)

func recordOf(data []byte) *backlog.Record {
	var dec record.Decoder
	return &backlog.Record{Pos: backlog.Position{Generation: 1, Segment: 1}, Type: dec.Type(data), Data: data}
}

func read(t testing.TB, s *Selector, data []byte) {
	t.Helper()
	if err := s.Read(recordOf(data)); err != nil {
		t.Fatal(err)
	}
}

func seriesRecord() []byte {
	var enc record.Encoder
	return enc.Series([]record.RefSeries{
		{Ref: 1, Labels: labels.FromStrings("__name__", "kept", "job", "a")},
		{Ref: 2, Labels: labels.FromStrings("__name__", "kept", "site", "own")},
		{Ref: 3, Labels: labels.FromStrings("__name__", "dropped")},
	}, nil)
}

// walRecords are one record of each type, of series 1 to 4, 4 being unknown.
func walRecords() [][]byte {
	var enc record.Encoder
	withStart := record.Encoder{EnableSTStorage: true}
	custom := tsdbutil.GenerateTestCustomBucketsHistogram(3)
	out := [][]byte{
		seriesRecord(),
		enc.Metadata([]record.RefMetadata{{Ref: 1, Type: uint8(record.Gauge), Unit: "seconds", Help: "helps"}}, nil),
		enc.Samples([]record.RefSample{{Ref: 1, T: 1, V: 1.5}, {Ref: 2, T: 2, V: 2.5}, {Ref: 3, T: 3, V: 3.5}, {Ref: 4, T: 4, V: 4.5}}, nil),
		withStart.Samples([]record.RefSample{{Ref: 2, ST: 1, T: 3, V: 3.5}}, nil),
		enc.Exemplars([]record.RefExemplar{
			{Ref: 1, T: 5, V: 5.5, Labels: labels.FromStrings("trace_id", "x")},
			{Ref: 3, T: 5, V: 5.5, Labels: labels.FromStrings("trace_id", "y")},
			{Ref: 4, T: 5, V: 5.5, Labels: labels.FromStrings("trace_id", "z")},
		}, nil),
	}
	ints, _ := enc.HistogramSamples([]record.RefHistogramSample{{Ref: 1, T: 6, H: tsdbutil.GenerateTestHistogram(1)}, {Ref: 3, T: 6, H: tsdbutil.GenerateTestHistogram(1)}}, nil)
	floats, _ := enc.FloatHistogramSamples([]record.RefFloatHistogramSample{{Ref: 2, T: 7, FH: tsdbutil.GenerateTestFloatHistogram(2)}, {Ref: 4, T: 7, FH: tsdbutil.GenerateTestFloatHistogram(2)}}, nil)
	buckets := enc.CustomBucketsHistogramSamples([]record.RefHistogramSample{{Ref: 1, T: 8, H: custom}}, nil)
	return append(out, ints, floats, buckets)
}

func show(it remotewrite.Item) string {
	text := fmt.Sprintf("%s %d-%d", it.Series.Labels, it.ST, it.T)
	switch it.Kind {
	case remotewrite.FloatSample:
		return fmt.Sprintf("%s %v", text, it.V)
	case remotewrite.Exemplar:
		return fmt.Sprintf("%s %v %s", text, it.V, it.ExemplarLabels)
	case remotewrite.HistogramSample:
		return fmt.Sprintf("%s int %s", text, it.H)
	}
	return fmt.Sprintf("%s float %s", text, it.FH)
}

func TestRead(t *testing.T) {
	t.Parallel()
	// The label of the series wins over the external one.
	const one, two = `{__name__="kept", job="a", place="a"}`, `{__name__="kept", place="own"}`
	samples := []string{one + " 0-1 1.5", two + " 0-2 2.5", two + " 1-3 3.5"}
	exemplar := one + ` 0-5 5.5 {trace_id="x"}`
	natives := []string{
		one + " 0-6 int " + tsdbutil.GenerateTestHistogram(1).String(),
		two + " 0-7 float " + tsdbutil.GenerateTestFloatHistogram(2).String(),
	}
	custom := one + " 0-8 int " + tsdbutil.GenerateTestCustomBucketsHistogram(3).String()
	for name, c := range map[string]struct {
		extra    string
		items    []string
		filtered map[string]uint64
		unknown  uint64
	}{
		"all kinds, 1.0":       {allKinds, slices.Concat(samples, []string{exemplar}, natives), map[string]uint64{Relabelled: 2, CustomBuckets: 1}, 2},
		"all kinds, 2.0":       {allKinds + protobuf2, slices.Concat(samples, []string{exemplar}, natives, []string{custom}), map[string]uint64{Relabelled: 2}, 2},
		"floats only":          {"", samples, map[string]uint64{Relabelled: 1, NativeHistogram: 5}, 1},
		"floats and exemplars": {"    send_exemplars: true\n", append(slices.Clone(samples), exemplar), map[string]uint64{Relabelled: 1, NativeHistogram: 5}, 1},
	} {
		s := newTestSelector(t, c.extra+dropDropped)
		var items []string
		var unknown, all uint64
		sum := map[string]uint64{}
		for _, data := range walRecords() {
			read(t, s, data)
			for _, it := range s.Items {
				items = append(items, show(it))
			}
			for reason, n := range s.Filtered() {
				sum[reason] += n
			}
			unknown += s.Unknown
			all += s.Samples()
		}
		if !slices.Equal(items, c.items) {
			t.Errorf("%s:\n%s\ninstead of\n%s", name, strings.Join(items, "\n"), strings.Join(c.items, "\n"))
		}
		if !maps.Equal(sum, c.filtered) || unknown != c.unknown {
			t.Errorf("%s: filtered %v, unknown %d", name, sum, unknown)
		}
		if all != 10 {
			t.Errorf("%s: %d samples were read of 10", name, all)
		}
	}
}

// TestMetadata: it is the series', whichever of the two records comes first,
// and is kept once for all that have the same.
func TestMetadata(t *testing.T) {
	t.Parallel()
	var enc record.Encoder
	meta := enc.Metadata([]record.RefMetadata{
		{Ref: 1, Type: uint8(record.Gauge), Unit: "seconds", Help: "helps"}, {Ref: 2, Type: uint8(record.Gauge), Unit: "seconds", Help: "helps"}, {Ref: 3, Help: "dropped"},
	}, nil)
	samples := enc.Samples([]record.RefSample{{Ref: 1, T: 1}, {Ref: 2, T: 1}}, nil)
	want := metadata.Metadata{Type: model.MetricTypeGauge, Unit: "seconds", Help: "helps"}
	for name, records := range map[string][][]byte{"series first": {seriesRecord(), meta, samples}, "metadata first": {meta, seriesRecord(), samples}} {
		s := newTestSelector(t, protobuf2+dropDropped)
		for _, data := range records {
			read(t, s, data)
		}
		a, b := s.Items[0].Series.Metadata, s.Items[1].Series.Metadata
		if a == nil || *a != want || a != b {
			t.Errorf("%s: %+v and %+v", name, a, b)
		}
		read(t, s, enc.Metadata([]record.RefMetadata{{Ref: 1, Type: uint8(record.Counter), Help: "other"}}, nil))
		read(t, s, seriesRecord()) // as in a checkpoint
		read(t, s, samples)
		if got := s.Items[0].Series.Metadata; got.Help != "other" || s.Items[1].Series.Metadata != b {
			t.Errorf("%s: changed metadata are %+v", name, got)
		}
		if len(s.known.early) > 0 {
			t.Errorf("%s: %v are kept", name, s.known.early)
		}
	}
	s := newTestSelector(t, "")
	for _, data := range [][]byte{seriesRecord(), meta, samples} {
		read(t, s, data)
	}
	if s.Items[0].Series.Metadata != nil {
		t.Error("1.0 does not send metadata with samples")
	}
}

// TestSeriesAreShared: items of a series name one Series, after its record has
// been read again too, and keep it when all is forgotten.
func TestSeriesAreShared(t *testing.T) {
	t.Parallel()
	var enc record.Encoder
	samples := enc.Samples([]record.RefSample{{Ref: 1, T: 1}, {Ref: 2, T: 1}, {Ref: 1, T: 2}}, nil)
	s := newTestSelector(t, dropDropped)
	read(t, s, seriesRecord())
	read(t, s, samples)
	items := slices.Clone(s.Items)
	if items[0].Series != items[2].Series || items[0].Series == items[1].Series {
		t.Error("items of one series do not share it")
	}
	read(t, s, seriesRecord())
	read(t, s, samples)
	if s.Items[0].Series != items[0].Series {
		t.Error("a series that was read again is another")
	}

	s.Forget()
	read(t, s, samples)
	if len(s.Items) != 0 || s.Unknown != 3 || s.Samples() != 3 || s.Filtered() != nil {
		t.Errorf("after Forget: %d items, %d unknown", len(s.Items), s.Unknown)
	}
	if items[0].Series.Labels.Get("job") != "a" {
		t.Error("items have lost their series")
	}
	// A new generation: the reference means another series.
	read(t, s, enc.Series([]record.RefSeries{{Ref: 1, Labels: labels.FromStrings("__name__", "other")}}, nil))
	read(t, s, samples)
	if len(s.Items) != 2 || s.Items[0].Series.Labels.Get("__name__") != "other" || items[0].Series.Labels.Get("__name__") != "kept" {
		t.Errorf("%v, before %v", s.Items, items[0].Series.Labels)
	}
}

// TestDamagedRecords: nothing of a record that does not decode is in Items.
func TestDamagedRecords(t *testing.T) {
	t.Parallel()
	s := newTestSelector(t, allKinds+protobuf2)
	for _, data := range walRecords() {
		if err := s.Read(recordOf(data[:len(data)-3])); err == nil || !strings.Contains(err.Error(), "cannot decode") || len(s.Items) > 0 || s.Samples() > 0 {
			t.Errorf("a cut record of type %d: %v, %d items", data[0], err, len(s.Items))
		}
	}
	if err := s.Read(recordOf([]byte{byte(record.Tombstones)})); err != nil || s.Samples() != 0 {
		t.Errorf("a record that is of no concern: %v", err)
	}
}

func TestExternalAndRelabelled(t *testing.T) {
	t.Parallel()
	b := labels.NewBuilder(labels.EmptyLabels())
	rule := func(r relabel.Config) []*relabel.Config {
		c := relabel.DefaultRelabelConfig
		c.SourceLabels, c.TargetLabel, c.Action, c.NameValidationScheme = r.SourceLabels, r.TargetLabel, r.Action, model.UTF8Validation
		if r.Regex.String() != "" {
			c.Regex = r.Regex
		}
		return []*relabel.Config{&c}
	}
	for name, c := range map[string]struct {
		lset, external, want labels.Labels
		cfgs                 []*relabel.Config
		dropped              bool
	}{
		"added":           {labels.FromStrings("a", "1"), labels.FromStrings("b", "2"), labels.FromStrings("a", "1", "b", "2"), nil, false},
		"the series wins": {labels.FromStrings("a", "1"), labels.FromStrings("a", "2"), labels.FromStrings("a", "1"), nil, false},
		"none":            {labels.FromStrings("a", "1"), labels.EmptyLabels(), labels.FromStrings("a", "1"), nil, false},
		"relabelled after": {labels.FromStrings("a", "1"), labels.FromStrings("b", "2"), labels.FromStrings("a", "1", "b", "2", "c", "2"),
			rule(relabel.Config{SourceLabels: model.LabelNames{"b"}, TargetLabel: "c", Action: relabel.Replace}), false},
		"dropped by an external label": {labels.FromStrings("a", "1"), labels.FromStrings("b", "2"), labels.EmptyLabels(),
			rule(relabel.Config{SourceLabels: model.LabelNames{"b"}, Regex: relabel.MustNewRegexp("2"), Action: relabel.Drop}), true},
	} {
		got, keep := ExternalAndRelabelled(b, c.lset, c.external, c.cfgs)
		if !labels.Equal(got, c.want) || keep == c.dropped {
			t.Errorf("%s: %s, kept: %t", name, got, keep)
		}
	}
}

// TestReadAllocates: reading samples allocates nothing, also where some are
// dropped.
func TestReadAllocates(t *testing.T) {
	var enc record.Encoder
	refs := make([]record.RefSample, 1000)
	for i := range refs {
		refs[i] = record.RefSample{Ref: chunks.HeadSeriesRef(1 + i%4), T: int64(i)}
	}
	rec := recordOf(enc.Samples(refs, nil))
	s := newTestSelector(t, dropDropped)
	read(t, s, seriesRecord())
	if n := testing.AllocsPerRun(10, func() {
		if err := s.Read(rec); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for a record", n)
	}
	if len(s.Items) != 500 || s.Filtered()[Relabelled] != 250 || s.Unknown != 250 {
		t.Errorf("%d items, filtered %v, unknown %d", len(s.Items), s.Filtered(), s.Unknown)
	}
}
