package web

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"
)

// fakeTarget is one that was not scraped yet.
func fakeTarget(addr string) *scrape.Target {
	return scrape.NewTarget(
		labels.FromStrings(model.AddressLabel, addr, model.SchemeLabel, "http", model.MetricsPathLabel, "/metrics", "instance", addr),
		&config.ScrapeConfig{}, model.LabelSet{model.AddressLabel: model.LabelValue(addr)}, nil)
}

func TestRedactError(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		`Get "http://h/probe?auth_token=s3cret&module=s7": refused`:                           `Get "http://h/probe?auth_token=xxxxx&module=s7": refused`,
		`http://h/probe?auth_token=s3cret&module=s7`:                                          `http://h/probe?auth_token=xxxxx&module=s7`,
		`Post "http://u:s3cret@t/?k=s3cret": no`:                                              `Post "http://xxxxx@t/?k=xxxxx": no`,
		`Get "http://h/probe?auth_token=s3cret&module=s7&x=s3cret": no`:                       `Get "http://h/probe?auth_token=xxxxx&module=xxxxx&x=xxxxx": no`,
		`Get "http://h/probe?auth_token=s3cret&module=s7": Post "http://t/?k=s3cret": an end`: `Get "http://h/probe?auth_token=xxxxx&module=s7": Post "http://t/?k=xxxxx": an end`,
		"a \x00 b": "a  b",
	} {
		own, err := url.Parse("http://h/probe?auth_token=s3cret&module=s7")
		if err != nil {
			t.Fatal(err)
		}
		if got := redactError(text, own); got != want {
			t.Errorf("%s:\n%s instead of\n%s", text, got, want)
		}
	}
}

// A target's row, its error and the API name it alike.
func TestErrorNamesItsTarget(t *testing.T) {
	target := scrape.NewTarget(
		labels.FromStrings(model.AddressLabel, "h:1", model.SchemeLabel, "http", model.MetricsPathLabel, "/probe", "__param_module", "s7", "__param_auth_token", "s3cret"),
		&config.ScrapeConfig{}, nil, nil)
	target.Report(noon, 0, errors.New(`Get "`+target.URL().String()+`": connection refused`))
	r := row(candidate{"p", "", target.Health(), target})
	want := `Get "http://h:1/probe?auth_token=xxxxx&module=s7": connection refused`
	if r.Error != want {
		t.Errorf("%s instead of %s", r.Error, want)
	}
	s := &Server{opts: Options{ExternalURL: mustParse(t, "http://e")}}
	if got := s.activeTarget("p", target, labels.NewBuilder(labels.EmptyLabels())); got.LastError != want || !strings.Contains(want, got.ScrapeURL) {
		t.Errorf("API: %s of %s", got.LastError, got.ScrapeURL)
	}
}
