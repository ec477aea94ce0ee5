package remotewrite

import (
	"fmt"
	"html"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"sync"
)

// InReceiversPlace reports whether an answer is not that of a receiver of remote
// write, but of something in front of it: a proxy's page for plain HTTP on its
// TLS port or for a client certificate that it does not take, the login page of
// a guest network. Whatever its status says, it says nothing of the samples.
// contentType is empty where it is not known.
func InReceiversPlace(contentType, body string) bool {
	// Go's own server says this, to anyone, before any receiver is asked (net/http:
	// conn.serve).
	return isPage(contentType, body) || strings.HasPrefix(body, "Client sent an HTTP request to an HTTPS server")
}

// isPage reports whether an answer is made for a browser. Receivers of remote
// write have plain words: nothing that they say begins with a tag.
func isPage(contentType, body string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	if err == nil && (kind == "text/html" || kind == "application/xhtml+xml") {
		return true
	}
	return strings.HasPrefix(strings.TrimSpace(strings.TrimPrefix(body, "\ufeff")), "<")
}

var pageTitle = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`) })

// WordsOf are the body of an answer, or the title of a page: empty where that
// only repeats the status.
func WordsOf(status int, contentType, body string) string {
	if !isPage(contentType, body) {
		return body
	}
	found := pageTitle().FindStringSubmatch(body)
	if found == nil {
		return "a web page without a title"
	}
	words := html.UnescapeString(strings.TrimSpace(found[1]))
	if words == fmt.Sprintf("%d %s", status, http.StatusText(status)) {
		return ""
	}
	return fmt.Sprintf("a web page, %q", words)
}
