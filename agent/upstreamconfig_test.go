package agent

import (
	"net/url"
	"testing"
	"time"

	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
)

func TestLongestAnswer(t *testing.T) {
	t.Parallel()
	timeout := func(d time.Duration) *config.ScrapeConfig {
		return &config.ScrapeConfig{ScrapeTimeout: model.Duration(d)}
	}
	if got := longestAnswer([]*config.ScrapeConfig{timeout(time.Second), timeout(time.Minute)}); got != answerTime {
		t.Errorf("%s with usual timeouts", got)
	}
	if got := longestAnswer([]*config.ScrapeConfig{timeout(time.Hour), timeout(time.Second)}); got <= time.Hour {
		t.Errorf("%s with a timeout of an hour", got)
	}
}

func TestRedirectsLeak(t *testing.T) {
	t.Parallel()
	headers := func(h config_util.Header) *config_util.Headers {
		return &config_util.Headers{Headers: map[string]config_util.Header{"X-A": h}}
	}
	for name, tc := range map[string]struct {
		headers *config_util.Headers
		params  url.Values
		want    bool
	}{
		"nothing":               {nil, nil, false},
		"a header for all":      {headers(config_util.Header{Values: []string{"a"}}), nil, false},
		"a secret header":       {headers(config_util.Header{Secrets: []config_util.Secret{"a"}}), nil, true},
		"a header from a file":  {headers(config_util.Header{Files: []string{"a"}}), nil, true},
		"a parameter":           {nil, url.Values{"module": {"a"}}, false},
		"a parameter: a secret": {nil, url.Values{"module": {"a"}, "api_key": {"b"}}, true},
	} {
		c := config_util.HTTPClientConfig{HTTPHeaders: tc.headers, BearerToken: "is taken off by upstream"}
		if got := redirectsLeak(c, tc.params); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
