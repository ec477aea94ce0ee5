package agenttest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
)

// Cortex' limits as Opstrace sets them.
const (
	maxLabels     = 30
	maxLabelName  = 1024 // bytes
	maxLabelValue = 2048 // bytes
)

// sortLabels orders labels by name, as Cortex' distributor does for senders
// that did not.
func sortLabels(ls []prompb.Label) {
	byName := func(a, b prompb.Label) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(ls, byName) {
		slices.SortFunc(ls, byName)
	}
}

// appendKey appends what tells one label set from another. Names and values
// are UTF-8, in which 0xff does not occur.
func appendKey(b []byte, ls []prompb.Label) []byte {
	for i := range ls {
		b = append(b, ls[i].Name...)
		b = append(b, 0xff)
		b = append(b, ls[i].Value...)
		b = append(b, 0xff)
	}
	return b
}

func toLabels(ls []prompb.Label) labels.Labels {
	b := labels.NewScratchBuilder(len(ls))
	for _, l := range ls {
		b.Add(l.Name, l.Value)
	}
	return b.Labels()
}

// checkLabels says in Cortex' words what is wrong with the labels of a series,
// which must be sorted; empty if nothing is.
func checkLabels(ls []prompb.Label) string {
	i := slices.IndexFunc(ls, func(l prompb.Label) bool { return l.Name == model.MetricNameLabel })
	if i < 0 {
		return "sample missing metric name"
	}
	if name := ls[i].Value; !model.LegacyValidation.IsValidMetricName(name) {
		return fmt.Sprintf("sample invalid metric name: %.200q", name)
	}
	if len(ls) > maxLabels {
		return fmt.Sprintf("series has too many labels (actual: %d, limit: %d) series: '%s'",
			len(ls), maxLabels, metric(ls))
	}
	last := ""
	for _, l := range ls {
		switch {
		case !model.LegacyValidation.IsValidLabelName(l.Name):
			return fmt.Sprintf("sample invalid label: %.200q metric %.200q", l.Name, metric(ls))
		case len(l.Name) > maxLabelName:
			return fmt.Sprintf("label name too long: %.200q metric %.200q", l.Name, metric(ls))
		case len(l.Value) > maxLabelValue:
			return fmt.Sprintf("label value too long for metric: %.200q label value: %.200q", metric(ls), l.Value)
		case l.Name == last:
			return fmt.Sprintf("duplicate label name: %.200q metric %.200q", l.Name, metric(ls))
		}
		last = l.Name
	}
	return ""
}

// metric writes a label set as name{label="value"}, duplicates included.
func metric(ls []prompb.Label) string {
	name, pairs := "", make([]string, 0, len(ls))
	for _, l := range ls {
		if l.Name == model.MetricNameLabel && name == "" {
			name = l.Value
			continue
		}
		pairs = append(pairs, fmt.Sprintf("%s=%q", l.Name, l.Value))
	}
	if len(pairs) == 0 && name != "" {
		return name
	}
	return name + "{" + strings.Join(pairs, ", ") + "}"
}
