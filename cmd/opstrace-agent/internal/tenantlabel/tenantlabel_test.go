package tenantlabel

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

func TestProblem(t *testing.T) {
	for _, tc := range []struct{ name, value, want string }{
		{"site", "berlin-7", ""},
		{"__name__", "job:up:sum", ""},
		{"site-id", "x", `"site-id" is not the name of a label`},
		{"http.method", "GET", `"http.method" is not the name of a label`},
		{"größe", "x", `"größe" is not the name of a label`},
		{"", "x", `"" is not the name of a label`},
		{"7", "x", `"7" is not the name of a label`},
		{"a:b", "x", `"a:b" is not the name of a label`},
		{"__name__", "http.server.duration", `"http.server.duration" is not the name of a metric`},
		{"__name__", strings.Repeat("a", 1025), "the name of a metric has 1025 bytes"},
		{strings.Repeat("a", 1025), "x", "the name of label " + strings.Repeat("a", 60) + "… has 1025 bytes"},
		{"a", strings.Repeat("x", 2048), ""},
		{"a", strings.Repeat("x", 2049), "the value of label a has 2049 bytes"},
		{"a", "", "label a has no value"},
	} {
		if got := Problem(tc.name, tc.value); !strings.HasPrefix(got, tc.want) || (got == "") != (tc.want == "") {
			t.Errorf("%s=%s: got %q, want %q", shorten(tc.name), shorten(tc.value), got, tc.want)
		}
	}
}

func TestSeriesProblem(t *testing.T) {
	b := labels.NewBuilder(labels.FromStrings("__name__", "m"))
	for i := range 29 {
		b.Set(fmt.Sprint("l", i), "x")
	}
	full := b.Labels()
	if got := SeriesProblem(full); got != "" {
		t.Errorf("30 labels: %q", got)
	}
	if got := SeriesProblem(b.Set("one", "more").Labels()); got != "31 labels, and a series may have 30" {
		t.Errorf("31 labels: %q", got)
	}
	if got := SeriesProblem(labels.FromStrings("__name__", "m", "a-b", "x")); !strings.HasPrefix(got, `"a-b" is not`) {
		t.Errorf("got %q", got)
	}
}
