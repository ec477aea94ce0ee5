package web

import (
	"net"
	"net/http"
	"strings"
)

const notOwnName = "Nothing is shown here under this name: a page of whoever owns it could read along.\n" +
	"hint: ask http://localhost, or, where a proxy on this host is to ask under it, start with --web.external-url"

// ownNames refuses requests through a loopback address under a name that somebody
// elsewhere may own: they can point it at 127.0.0.1, and then their page, in a browser on
// this host, may read what is here. Where a password is asked for, no page has it; and
// health tells nothing.
func (s *Server) ownNames(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(loopbackKey{}).(bool)
		if local && !ownName(r.Host, s.opts.ExternalURL.Hostname()) && !isHealth(r.URL.Path) && !authenticates(s.opts.ConfigFile) {
			http.Error(w, notOwnName, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownName reports whether the host of a request is no name that is looked up in the
// network: an address, a name without a dot, or below localhost; or is that of the
// external URL.
func ownName(host, external string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if net.ParseIP(trimBrackets(host)) != nil {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost") || host == strings.ToLower(external)
}
