package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/prometheus/config"
)

// agentPattern is name and version of a sender: product tokens, and perhaps comments.
const agentPattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+( .*)?$"

// reservedHeaders: a configuration that sets one is refused.
func reservedHeaders(world, string) error {
	for _, name := range []string{"Content-Encoding", "content-type", "X-Prometheus-Remote-Write-Version", "User-Agent"} {
		for _, section := range []string{"headers: {%s: x}", "http_headers: {%s: {values: [x]}}"} {
			text := fmt.Sprintf("remote_write: [{url: http://h/, "+section+"}]", name)
			if _, err := config.Load(text, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(strings.ToLower(err.Error()), "header") {
				return fmt.Errorf("%s: %w", text, err)
			}
		}
	}
	_, err := config.Load("remote_write: [{url: http://h/, headers: {X-Scope-OrgID: x}}]", slog.New(slog.DiscardHandler))
	return err
}

// messageTest: what an entry sends that says nothing, and one that says 2.0.
func messageTest(w world, path string) error {
	c, err := config.Load("remote_write: [{url: http://h/}]", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if m := c.RemoteWriteConfigs[0].ProtobufMessage; m != "prometheus.WriteRequest" {
		return fmt.Errorf("the default is %s", m)
	}
	return header("Content-Type", "io.prometheus.write.v2.Request")(w["2.0"]["rich"][path].sent)
}

// firstIs: all requests are of a version of remote write.
func firstIs(version string) outcome {
	return func(a answered) error {
		return header("X-Prometheus-Remote-Write-Version", "^"+version+"$")(&sent{posts: a.posts})
	}
}

// pageTest: any words with 2xx are ignored; a page is while live only.
func pageTest(version string) func(world, string) error {
	return all(of(version, "2xx", once), of(version, "2xx", allDelivered), ofPath(version, "page", once, retriedPage))
}

// retriedPage: what is answered with a page is sent again.
func retriedPage(a answered) error {
	if len(a.posts) < 2 || !bytes.Equal(a.posts[0].body, a.posts[1].body) {
		return fmt.Errorf("there are %d requests", len(a.posts))
	}
	return allDelivered(a)
}

// resent: what was in the first request is sent again, and taken.
func resent(a answered) error {
	if len(sentAgain(a.posts)) == 0 {
		return errors.New("nothing is sent again")
	}
	return allDelivered(a)
}

// namesTest: names that were scraped so are sent so, and nothing else is.
func namesTest(version string, c check) func(world, string) error {
	return all(sentIn(version, "rich", c, nil), sentIn(version, "names", broken(c), nil))
}

// utf8Test: names of UTF-8 are sent, but for those of a job with legacy names.
func utf8Test(version string, c check) func(world, string) error {
	return all(namesTest(version, c), sentIn(version, "scraped", broken(c), nil), of(version, "scraped", legacyNames))
}

// scrapedTest: a check of the exposition, and of what was really scraped.
func scrapedTest(version string, c check) func(world, string) error {
	return all(sentIn(version, "rich", c, nil), sentIn(version, "scraped", c, nil))
}

func afterSeconds(version string) func(world, string) error {
	return of(version, "seconds", waited(time.Second))
}

// afterDate: Retry-After has whole seconds, and upstream's queue leaves out the part of
// one that is left until then.
func afterDate(version string) func(world, string) error {
	return func(w world, path string) error {
		a := w[version]["date"][path]
		if len(a.posts) == 0 {
			return errors.New("there is no request")
		}
		at, err := http.ParseTime(a.posts[0].retryAfter)
		if err != nil {
			return err
		}
		least := at.Sub(a.posts[0].answered) - 50*time.Millisecond // of the way of the answer
		if path == "live" {
			least -= time.Second
		}
		return waited(least)(a)
	}
}

// Recordings that break a rule.

func without(name string) func(*sent) {
	return func(s *sent) { s.posts[1].header.Del(name) }
}

func with(name, v string) func(*sent) {
	return func(s *sent) { s.posts[1].header.Set(name, v) }
}

func framed(s *sent) {
	s.posts[1].body = []byte("\xff\x06\x00\x00sNaPpY")
}

func repeatLabel(s *sent) {
	w := &s.posts[1].series[0]
	w.labels = append(w.labels, w.labels[0])
}

func unsortLabels(s *sent) {
	l := s.posts[1].series[0].labels
	l[0], l[1] = l[1], l[0]
}

func dottedMetric(s *sent) { s.posts[1].series[0].labels[0].value = "a.b" }

func dottedLabel(s *sent) { s.posts[1].series[0].labels[1].name = "job.x" }

func reservedLabel(s *sent) { s.posts[1].series[0].labels[1].name = "__job" }

func swapTimes(s *sent) {
	s.posts[0].series[0].samples, s.posts[1].series[0].samples = s.posts[1].series[0].samples, s.posts[0].series[0].samples
}
