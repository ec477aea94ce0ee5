package redact

import (
	"net/url"

	config_util "github.com/prometheus/common/config"
)

// Redirects returns a client's settings for requests of a scrape job with these
// parameters, which follow no redirect where that would take a secret to wherever it
// leads: upstream takes passwords and tokens off for another host, but neither a header of
// any other name nor the parameters, which Go's client puts into the Referer.
func Redirects(c config_util.HTTPClientConfig, params url.Values) config_util.HTTPClientConfig {
	return redirects(c, params, SecretParam)
}

// RedirectsOf is Redirects for requests to a URL, where any parameter that is named like a
// secret is one. Of a URL that cannot be parsed none is followed.
func RedirectsOf(c config_util.HTTPClientConfig, rawURL string) config_util.HTTPClientConfig {
	u, err := url.Parse(rawURL)
	if err != nil {
		c.FollowRedirects = false
		return c
	}
	return redirects(c, u.Query(), Secret)
}

// SecretParam reports whether the parameter of a scrape job with this name holds a secret:
// auth is the name of a login of snmp_exporter, whose targets could else not redirect.
// What is shown hides its value all the same, as Secret says.
func SecretParam(name string) bool { return name != "auth" && Secret(name) }

func redirects(c config_util.HTTPClientConfig, params url.Values, secret func(name string) bool) config_util.HTTPClientConfig {
	if secretHeader(c.HTTPHeaders) {
		c.FollowRedirects = false
	}
	for name := range params {
		if secret(name) {
			c.FollowRedirects = false
		}
	}
	return c
}

func secretHeader(headers *config_util.Headers) bool {
	if headers != nil {
		for _, h := range headers.Headers {
			if len(h.Secrets)+len(h.Files) > 0 {
				return true
			}
		}
	}
	return false
}
