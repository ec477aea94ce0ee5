// Package tenantlabel knows which labels an Opstrace tenant takes: its Cortex
// refuses every sample of a series with another one.
package tenantlabel

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
)

// Limits of Cortex, as Opstrace runs it.
const (
	MaxLabels      = 30   // of a series, __name__ included
	maxNameLength  = 1024 // bytes
	maxValueLength = 2048 // bytes
)

var (
	labelName  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`) })
	metricName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`) })
)

// Asked reports whether a URL is where a tenant takes samples, as Cortex does
// everywhere.
func Asked(u *url.URL) bool { return strings.HasSuffix(u.Path, "/api/v1/push") }

// SeriesProblem says what is wrong with the labels of a series; empty if nothing
// is.
func SeriesProblem(ls labels.Labels) (problem string) {
	if n := ls.Len(); n > MaxLabels {
		return fmt.Sprintf("%d labels, and a series may have %d", n, MaxLabels)
	}
	ls.Range(func(l labels.Label) {
		if problem == "" {
			problem = Problem(l.Name, l.Value)
		}
	})
	return problem
}

// Problem says what is wrong with a label; empty if nothing is.
func Problem(name, value string) string {
	switch {
	case name == "__name__" && metricName().MatchString(value) && len(value) <= maxNameLength:
		return ""
	case name == "__name__" && len(value) > maxNameLength:
		return fmt.Sprintf("the name of a metric has %d bytes, and may have %d", len(value), maxNameLength)
	case name == "__name__":
		return fmt.Sprintf("%q is not the name of a metric that an Opstrace tenant takes: letters, digits, _ and : only", shorten(value))
	case !labelName().MatchString(name):
		return fmt.Sprintf("%q is not the name of a label that an Opstrace tenant takes: letters, digits and _ only", shorten(name))
	case len(name) > maxNameLength:
		return fmt.Sprintf("the name of label %s has %d bytes, and may have %d", shorten(name), len(name), maxNameLength)
	case value == "":
		return fmt.Sprintf("label %s has no value", name)
	case len(value) > maxValueLength:
		return fmt.Sprintf("the value of label %s has %d bytes, and may have %d", name, len(value), maxValueLength)
	}
	return ""
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}
