package pushcheck

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
	"github.com/opstrace/opstrace-agent/agent/redact"
)

// judge reports what an answer means.
func (c *check) judge(ctx context.Context, a *answer, took time.Duration) bool {
	text := a.String()
	switch {
	case a.status == http.StatusBadRequest && c.speaksTLS(ctx):
		return c.fail(StepWrite, text, writeHTTPS)
	case a.status/100 == 2 && a.body != "" && a.inReceiversPlace():
		return c.fail(StepWrite, text, "something on the way answers with a web page in the endpoint's place, such as the login page of a guest network; log in there, or use https")
	case a.status/100 == 2:
		return c.accepted(a, text, took)
	case a.status/100 == 3:
		return c.fail(StepWrite, text, c.redirectHint(a))
	case a.status == http.StatusUnauthorized:
		return c.unauthorized(text)
	case a.status == http.StatusForbidden:
		return c.fail(StepAuth, text, "the token is known and may not write, or something on the way forbids it")
	case a.status == http.StatusProxyAuthRequired:
		return c.fail(StepProxy, text, "put user and password into proxy_url, as in http://user:password@proxy:3128")
	}
	// Opstrace asks for the token first: whatever else it says is said to a
	// tenant that it knows.
	if hint := behindAuth(a); hint != "" {
		c.authorized()
		return c.fail(StepWrite, text, hint)
	}
	return c.fail(StepWrite, text, c.statusHint(a))
}

func (c *check) accepted(a *answer, text string, took time.Duration) bool {
	if c.v2 && !a.wrote {
		c.authorized()
		return c.fail(StepWrite, text+", without a word about what was written",
			"the endpoint speaks remote write 1.0 only and would lose every sample: remove protobuf_message")
	}
	c.authorized()
	if a.body != "" {
		c.note(StepWrite, "an empty write is answered: "+text, "a receiver of remote write answers with nothing: check that the url is that of one")
		return true
	}
	c.ok(StepWrite, "an empty write is accepted: "+text, took)
	return true
}

// authorized reports that token and tenant were accepted.
func (c *check) authorized() {
	if c.token != nil {
		c.ok(StepAuth, "the token is accepted", 0)
	}
	if tenant := c.hostTenant(); tenant != "" {
		c.ok(StepTenant, tenant+" is there", 0)
	}
}

// unauthorized looks for the reason in what the token says of itself: the
// endpoint has the same words for all of them.
func (c *check) unauthorized(text string) bool {
	switch t := c.token; {
	case c.anonymous:
		return c.fail(StepAuth, text, "the endpoint asks for a token: set token_file")
	case t == nil:
		return c.fail(StepAuth, text, "check the user or client and its password or secret")
	case t.begins.After(time.Now()):
		return c.fail(StepAuth, text, fmt.Sprintf("the token is good from %s on: set the clock of this host, or of the one where it was made", t.begins.UTC().Format(minute)))
	case !t.expires.IsZero() && !time.Now().Before(t.expires):
		return c.fail(StepAuth, text, fmt.Sprintf("the token expired on %s: %s", t.expires.UTC().Format(time.DateOnly), renewal(t.file)))
	case t.tenant != "" && c.hostTenant() != "" && t.tenant != c.hostTenant():
		return c.fail(StepTenant, text, fmt.Sprintf("the token is that of tenant %q, and the url that of tenant %q: change one of them",
			redact.Line(t.tenant, 64), c.hostTenant()))
	}
	return c.fail(StepAuth, text, refusal(c.token.file))
}

// behindAuth is the hint for an answer that comes from behind Opstrace's check
// of the token; empty for any other.
func behindAuth(a *answer) string {
	switch {
	case strings.HasPrefix(a.body, "500-to-409:"):
		return "the endpoint has trouble of its own, which passes; the agent would keep the samples and try again"
	case strings.HasPrefix(a.body, "429-to-503:"):
		return overLimit
	}
	return ""
}

const overLimit = "the tenant is over its rate limit; the agent would keep the samples and send them more slowly"

func (c *check) statusHint(a *answer) string {
	switch {
	case a.status == http.StatusBadRequest && a.inReceiversPlace():
		return pageHint(a.body)
	case a.status == http.StatusNotFound, a.status == http.StatusMethodNotAllowed, a.status == http.StatusGone:
		if c.rw.URL.Path != "/api/v1/push" {
			return fmt.Sprintf("nothing takes writes under %s: Opstrace does under /api/v1/push, Prometheus under /api/v1/write", redact.Line(path(c.rw.URL.URL), 100))
		}
		return "nothing takes writes there: check the host of the url"
	case a.status == http.StatusUnsupportedMediaType && c.v2:
		return "the endpoint speaks remote write 1.0 only: remove protobuf_message"
	case a.status == http.StatusTooManyRequests:
		return overLimit
	case a.status == http.StatusBadRequest, a.status == http.StatusUnsupportedMediaType:
		return "the endpoint does not understand an empty write: check that it takes Prometheus remote write"
	case a.status >= http.StatusInternalServerError:
		return "the endpoint, or something in front of it, is down; the agent would keep the samples and try again"
	}
	return "the agent would keep the samples and try again"
}

func path(u *url.URL) string {
	if u.Path == "" {
		return "/"
	}
	return u.Path
}

func (c *check) redirectHint(a *answer) string {
	to, err := c.rw.URL.Parse(a.header.Get("Location"))
	switch {
	case err != nil || a.header.Get("Location") == "":
		return "check the url: nothing takes writes there"
	case to.Hostname() != c.rw.URL.Hostname():
		return "something on the way answers in the endpoint's place, such as the login page of a guest network; log in there, or check the url"
	case c.rw.URL.Scheme == "http" && to.Scheme == "https":
		return "the endpoint takes https only, and the agent follows no redirect, which would carry the token along: write https:// in the url"
	}
	return "the agent follows no redirect, which would carry the token along: set the url to where it points"
}

func (a *answer) contentType() string { return a.header.Get("Content-Type") }

// inReceiversPlace reports whether the answer is not that of a receiver.
func (a *answer) inReceiversPlace() bool {
	return remotewrite.InReceiversPlace(a.contentType(), a.body)
}

// String is the status and the endpoint's words.
func (a *answer) String() string {
	text := fmt.Sprintf("HTTP %d %s", a.status, http.StatusText(a.status))
	if to := a.header.Get("Location"); to != "" && a.status/100 == 3 {
		return text + " to " + redact.Line(to, 200)
	}
	if words := redact.Line(remotewrite.WordsOf(a.status, a.contentType(), a.body), 200); words != "" {
		text += ": " + words
	}
	return text
}
