package redact

import (
	"net/url"

	config_util "github.com/prometheus/common/config"
)

// Redirects returns a client's settings for requests with these parameters, which follow
// no redirect where that would take a secret to wherever it leads: upstream takes
// passwords and tokens off for another host, but neither a header of any other name nor
// the parameters, which Go's client puts into the Referer.
func Redirects(c config_util.HTTPClientConfig, params url.Values) config_util.HTTPClientConfig {
	if redirectsLeak(c.HTTPHeaders, params) {
		c.FollowRedirects = false
	}
	return c
}

// RedirectsOf is Redirects for requests to a URL. Of one that cannot be parsed none is
// followed.
func RedirectsOf(c config_util.HTTPClientConfig, rawURL string) config_util.HTTPClientConfig {
	u, err := url.Parse(rawURL)
	if err != nil {
		c.FollowRedirects = false
		return c
	}
	return Redirects(c, u.Query())
}

func redirectsLeak(headers *config_util.Headers, params url.Values) bool {
	if headers != nil {
		for _, h := range headers.Headers {
			if len(h.Secrets)+len(h.Files) > 0 {
				return true
			}
		}
	}
	for name := range params {
		if Secret(name) {
			return true
		}
	}
	return false
}
