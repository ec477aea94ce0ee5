package tenantlabel

import (
	"strings"
	"testing"
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
