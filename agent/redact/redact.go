// Package redact takes secrets out of what is shown and logged: those in URLs,
// which Go's HTTP errors begin with, and those that become URL parameters. It also keeps
// clients from taking them along a redirect.
package redact

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// Hidden stands for the value of a label.
const Hidden = "<secret>"

// hidden stands for a part of a URL; it needs no escaping there.
const hidden = "xxxxx"

var (
	// secretName are the parameters whose values are secret, if not all are
	// taken for that: those that the printed configuration hides.
	secretName = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?i)auth|key|pass|secret|token|credential|signature`)
	})

	// anyURL in a text, perhaps quoted as Go does. Apostrophes and angle brackets
	// may be a part of a secret.
	anyURL   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^\s"\\]|\\.)+`) })
	userInfo = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`://[^/?#]*@`) })
	param    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`([?&])([^=&#]*)=([^&#]*)`) })
)

// Text hides the user info and the values of all parameters of the URLs in a
// text.
func Text(s string) string {
	return redactURLs(s, func(string) bool { return true })
}

// URL hides the user info and the values of those parameters that are named
// like a secret. It is for the URLs of targets, whose other parameters tell one
// target from another.
func URL(s string) string {
	return redactURLs(s, Secret)
}

// Destination hides what may be secret of the URL of a destination: user,
// password, and the values of all parameters. It is what delivery.json has kept
// since 0.1.0, and what a renamed destination is recognised by: another form of
// it would make every destination a new one at the next start. So it keeps user
// and password apart and sorts the parameters, which Text, that finds URLs
// within sentences, does not. A nil URL is empty.
func Destination(u *url.URL) string {
	if u == nil {
		return ""
	}
	c := *u
	if c.User != nil {
		c.User = url.UserPassword(hidden, hidden)
	}
	query := c.Query()
	for name := range query {
		query.Set(name, hidden)
	}
	c.RawQuery = query.Encode()
	return c.String()
}

// Secret reports whether a parameter is named like a secret.
func Secret(name string) bool { return secretName().MatchString(name) }

func redactURLs(s string, secret func(name string) bool) string {
	if !strings.Contains(s, "://") {
		return s
	}
	one := func(u string) string {
		u = userInfo().ReplaceAllString(u, "://"+hidden+"@")
		return param().ReplaceAllStringFunc(u, func(p string) string {
			m := param().FindStringSubmatch(p)
			if m[3] == "" || !secret(m[2]) {
				return p
			}
			return m[1] + m[2] + "=" + hidden
		})
	}
	if strings.IndexFunc(s, unicode.IsSpace) < 0 {
		return one(s) // no text around it: not even a quote ends it
	}
	return anyURL().ReplaceAllStringFunc(s, one)
}

// Labels hides the discovered labels that become secret URL parameters.
func Labels(ls labels.Labels) labels.Labels {
	b := labels.NewBuilder(ls)
	ls.Range(func(l labels.Label) {
		if name, ok := strings.CutPrefix(l.Name, model.ParamLabelPrefix); ok && Secret(name) {
			b.Set(l.Name, Hidden)
		}
	})
	return b.Labels()
}

// Logger returns a logger that hides secrets in the URLs of values before next
// gets them: strings, errors and what prints itself.
func Logger(next log.Logger) log.Logger {
	return log.LoggerFunc(func(keyvals ...any) error {
		var out []any // a copy, made when the first value differs
		for i := 1; i < len(keyvals); i += 2 {
			text, ok := textOf(keyvals[i])
			if !ok {
				continue
			}
			if clean := Text(text); clean != text {
				if out == nil {
					out = append(out, keyvals...)
				}
				out[i] = clean
			}
		}
		if out == nil {
			out = keyvals
		}
		return next.Log(out...)
	})
}

// textOf is what a logger would print of a value.
func textOf(v any) (text string, ok bool) {
	// A nil pointer behind an interface is the logger's to deal with.
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	switch v := v.(type) {
	case string:
		return v, true
	case error:
		return v.Error(), true
	case fmt.Stringer:
		return v.String(), true
	}
	return "", false
}

// Gatherer returns a gatherer without secrets in labels named url: upstream's
// metrics of a destination carry its whole URL but for the password.
func Gatherer(next prometheus.Gatherer) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := next.Gather()
		for _, f := range families {
			for i, m := range f.Metric {
				f.Metric[i] = cleanMetric(m)
			}
		}
		return families, err
	})
}

// cleanMetric copies what it changes: a collector keeps its labels for the next
// time.
func cleanMetric(m *dto.Metric) *dto.Metric {
	for i, l := range m.GetLabel() {
		if l.GetName() != "url" {
			continue
		}
		clean := Text(l.GetValue())
		if clean == l.GetValue() {
			return m
		}
		name := l.GetName()
		labels := slices.Clone(m.Label)
		labels[i] = &dto.LabelPair{Name: &name, Value: &clean}
		return &dto.Metric{
			Label: labels, Gauge: m.Gauge, Counter: m.Counter, Summary: m.Summary, Untyped: m.Untyped,
			Histogram: m.Histogram, TimestampMs: m.TimestampMs,
		}
	}
	return m
}
