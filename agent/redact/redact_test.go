package redact

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
)

func TestURLs(t *testing.T) {
	for in, want := range map[string][2]string{ // Text, URL
		"":                                   {"", ""},
		"no URL ?a=b":                        {"no URL ?a=b", "no URL ?a=b"},
		"http://h/p":                         {"http://h/p", "http://h/p"},
		"http://u:p@h/":                      {"http://xxxxx@h/", "http://xxxxx@h/"},
		"http://h/?module=s7&Auth_Token=t#f": {"http://h/?module=xxxxx&Auth_Token=xxxxx#f", "http://h/?module=s7&Auth_Token=xxxxx#f"},
		"http://h/?flag&token=":              {"http://h/?flag&token=", "http://h/?flag&token="},
		`Get "http://h/?token=a": Post "https://u@i/?k=b": dial tcp a@b: no`: {`Get "http://h/?token=xxxxx": Post "https://xxxxx@i/?k=xxxxx": dial tcp a@b: no`, `Get "http://h/?token=xxxxx": Post "https://xxxxx@i/?k=b": dial tcp a@b: no`},
		"http://u:a'b@h/?token=a\"b":                                         {"http://xxxxx@h/?token=xxxxx", "http://xxxxx@h/?token=xxxxx"},
		`Get "http://h/?token=a\"b'c&x=<d>": no`:                             {`Get "http://h/?token=xxxxx&x=xxxxx": no`, `Get "http://h/?token=xxxxx&x=<d>": no`},
		`see 'http://u:a'b@h/' there`:                                        {`see 'http://xxxxx@h/' there`, `see 'http://xxxxx@h/' there`},
		"http://h/ user@example.org http://h/a@b?x=y@z":                      {"http://h/ user@example.org http://h/a@b?x=xxxxx", "http://h/ user@example.org http://h/a@b?x=y@z"},
	} {
		if got := [2]string{Text(in), URL(in)}; got != want {
			t.Errorf("%s:\n%q instead of\n%q", in, got, want)
		}
	}
}

// TestDestination: literally what 0.1.0 has written into delivery.json.
func TestDestination(t *testing.T) {
	for in, want := range map[string]string{
		"https://h/api/v1/push":             "https://h/api/v1/push",
		"http://u@h:9009/":                  "http://xxxxx:xxxxx@h:9009/",
		"http://u:p%40ss@h/?b=1&a=2&flag#f": "http://xxxxx:xxxxx@h/?a=xxxxx&b=xxxxx&flag=xxxxx#f",
		"http://h/?a=1&a=2&token=a%20b":     "http://h/?a=xxxxx&token=xxxxx",
		"http://h/?":                        "http://h/?",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := Destination(u); got != want {
			t.Errorf("%s:\n%s instead of\n%s", in, got, want)
		}
		if u.String() != in {
			t.Errorf("%s was changed into %s", in, u)
		}
	}
	if Destination(nil) != "" {
		t.Error("no URL")
	}
}

func TestLabels(t *testing.T) {
	got := Labels(labels.FromStrings("__param_module", "a", "__param_api_key", "b", "token", "c"))
	if want := labels.FromStrings("__param_module", "a", "__param_api_key", Hidden, "token", "c"); !labels.Equal(got, want) {
		t.Errorf("%s instead of %s", got, want)
	}
}

func TestLogger(t *testing.T) {
	var out strings.Builder
	logger := log.With(Logger(log.NewLogfmtLogger(&out)), "url", "http://u:p@h/")
	keyvals := []any{"err", errors.New("at http://h/?a=b"), "n", 1, "u", &url.URL{Scheme: "http", Host: "h", RawQuery: "a=b"}, "nil", (*url.URL)(nil)}
	before := keyvals[1]
	if err := logger.Log(keyvals...); err != nil {
		t.Fatal(err)
	}
	if want := "url=http://xxxxx@h/ err=\"at http://h/?a=xxxxx\" n=1 u=\"http://h?a=xxxxx\" nil=null\n"; out.String() != want {
		t.Errorf("%s instead of %s", out.String(), want)
	}
	if keyvals[1] != before {
		t.Error("the caller's values were changed")
	}
}

func TestGatherer(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "c"}, []string{"url", "z"})
	registry.MustRegister(counter)
	counter.WithLabelValues("http://u:p@h/?a=b", "1").Add(7)
	counter.WithLabelValues("http://h/", "1")
	counter.WithLabelValues("http://u:p@h/?a=b", "2")
	for range 2 { // the second time, too
		families, err := Gatherer(registry).Gather()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range families[0].Metric {
			got = append(got, m.String())
		}
		all := strings.Join(got, " ")
		if strings.Contains(all, "u:p") || strings.Count(all, "http://xxxxx@h/?a=xxxxx") != 2 || !strings.Contains(all, "value:7") || len(got) != 3 {
			t.Errorf("%s", all)
		}
	}
	counter.WithLabelValues("http://u:p@h/?a=b", "1").Inc()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if all := families[0].String(); !strings.Contains(all, "http://u:p@h/?a=b") {
		t.Errorf("the collector's own labels were changed: %s", all)
	}
}
