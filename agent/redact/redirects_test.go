package redact

import (
	"net/url"
	"testing"

	config_util "github.com/prometheus/common/config"
)

func TestRedirects(t *testing.T) {
	t.Parallel()
	headers := func(h config_util.Header) *config_util.Headers {
		return &config_util.Headers{Headers: map[string]config_util.Header{"X-A": h}}
	}
	for name, tc := range map[string]struct {
		headers *config_util.Headers
		params  url.Values
		follows bool
	}{
		"nothing":               {nil, nil, true},
		"a header for all":      {headers(config_util.Header{Values: []string{"a"}}), nil, true},
		"a secret header":       {headers(config_util.Header{Secrets: []config_util.Secret{"a"}}), nil, false},
		"a header from a file":  {headers(config_util.Header{Files: []string{"a"}}), nil, false},
		"a parameter":           {nil, url.Values{"module": {"a"}}, true},
		"a parameter: a secret": {nil, url.Values{"module": {"a"}, "api_key": {"b"}}, false},
		"one beside a login":    {nil, url.Values{"auth": {"a"}, "auth_token": {"b"}}, false},
	} {
		c := config_util.HTTPClientConfig{HTTPHeaders: tc.headers, BearerToken: "is taken off by upstream", FollowRedirects: true}
		if got := Redirects(c, tc.params).FollowRedirects; got != tc.follows {
			t.Errorf("%s: %t", name, got)
		}
		if got := RedirectsOf(c, "http://a/b?"+tc.params.Encode()).FollowRedirects; got != tc.follows {
			t.Errorf("%s, in a URL: %t", name, got)
		}
		c.FollowRedirects = false
		if Redirects(c, tc.params).FollowRedirects {
			t.Errorf("%s: followed against the configuration", name)
		}
	}
	// The name of a login of snmp_exporter is no secret; in the URL of a discovery, it is none of those.
	follows := config_util.HTTPClientConfig{FollowRedirects: true}
	if !Redirects(follows, url.Values{"auth": {"public_v2"}, "module": {"if_mib"}}).FollowRedirects {
		t.Error("a job of snmp_exporter follows no redirect")
	}
	if RedirectsOf(follows, "http://a/b?auth=a").FollowRedirects {
		t.Error("a parameter of a URL that is named like a secret is none")
	}
	if RedirectsOf(config_util.HTTPClientConfig{FollowRedirects: true}, "http://%zz/").FollowRedirects {
		t.Error("a URL that is none")
	}
}
