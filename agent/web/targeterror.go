package web

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/prometheus/scrape"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// targetError is the error of a target's last scrape without secrets; empty for
// none.
func targetError(t *scrape.Target) string {
	err := t.LastError()
	if err == nil {
		return ""
	}
	return redactError(err.Error(), t.URL())
}

// redactError hides what may be secret in the error of a target. The target's own
// URL keeps what it has everywhere else: without its parameters, nobody would see
// which of the targets on a host it means. Other URLs, a token's for example, lose
// all.
func redactError(text string, own *url.URL) string {
	const placeholder = "\x00" // no part of a URL
	text = strings.ReplaceAll(text, placeholder, "")
	text = replaceWhole(text, own.String(), placeholder)
	return strings.ReplaceAll(redact.Text(text), placeholder, redact.URL(own.String()))
}

// replaceWhole replaces a URL in a text where it does not go on: it may be the
// beginning of another one.
func replaceWhole(text, u, by string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, u)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if next, _ := utf8.DecodeRuneInString(after); after == "" || next == '"' || unicode.IsSpace(next) {
			b.WriteString(by)
		} else {
			b.WriteString(u)
		}
		text = after
	}
}
