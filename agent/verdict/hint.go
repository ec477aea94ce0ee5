package verdict

import (
	"regexp"
	"sync"
)

// hints are what can be done about what a request came to, by the words of whoever
// failed it: the same that the command check push gives, which knows more than words.
// They are compiled at the first error: most agents never meet one.
var hints = sync.OnceValue(func() []hint {
	return []hint{
		{regexp.MustCompile(`cannot use its certificates|unable to (read|use)|no such file or directory|permission denied`),
			"a file of this host is missing, or the agent may not read it: 'opstrace-agent check config' says which user needs what"},
		{regexp.MustCompile(`oauth2`), "the server at token_url refuses client_id and client_secret, or is not there"},
		{regexp.MustCompile(`in front of the receiver`), "log in to this network, or check http or https in the url, the port, and the client certificate"},
		{regexp.MustCompile(`HTTP status 401`), "check that the token is whole, not expired, and of this tenant and cluster"},
		{regexp.MustCompile(`HTTP status 403`), "the token is known and may not write, or something on the way forbids it"},
		{regexp.MustCompile(`HTTP status (404|405|410)`), "nothing takes writes there: check host and path of the url; Opstrace takes them under /api/v1/push"},
		{regexp.MustCompile(`HTTP status 407`), "put user and password into proxy_url, as in http://user:password@proxy:3128"},
		{regexp.MustCompile(`HTTP status 413`), "requests are made smaller by themselves"},
		{regexp.MustCompile(`HTTP status 415`), "the endpoint speaks remote write 1.0 only: remove protobuf_message"},
		{regexp.MustCompile(`HTTP status 429|429-to-503`), "the tenant is over its rate limit: samples are kept and sent more slowly"},
		{regexp.MustCompile(`HTTP status (400|422).*(out.of.order|[dD]uplicate sample)`),
			"somebody else sends the same series: give each host a label of its own in global.external_labels; a clock that was set back does it for a while"},
		{regexp.MustCompile(`HTTP status (400|422).*(out of bounds|too old)`),
			"the tenant has samples that are newer by more than it takes: ask for a wider out-of-order window, and see that the clocks of its hosts are right"},
		{regexp.MustCompile(`HTTP status (400|422).*(too new|far in (the )?future)`),
			"these samples lie ahead of the endpoint's clock: see that this host's is right, and whether a target stamps its samples itself"},
		{regexp.MustCompile(`HTTP status (400|422)`), "what the endpoint names is refused for good: mend or drop it by write_relabel_configs, or raise the tenant's limits"},
		{regexp.MustCompile(`HTTP status 3\d\d`), "the agent follows no redirect, which would carry the token along: set the url to where it points"},
		{regexp.MustCompile(`HTTP status (409|5\d\d)`), "the endpoint, or something in front of it, is down: samples are kept and sent again"},
		{regexp.MustCompile(`no such host`), "check the spelling of the name in url; the name of a new tenant takes some minutes to appear"},
		{regexp.MustCompile(`network is unreachable|no route to host`), "this host has no way there: check its network, its firewall, and whether it needs a proxy (proxy_url)"},
		// Whatever else a lookup says, a refused connection too, is about the name server.
		{regexp.MustCompile(`server misbehaving|\blookup \S+( on \S+)?: `), "the name server of this host does not answer: see /etc/resolv.conf"},
		{regexp.MustCompile(`connection refused`), "nothing listens there: check host and port of the url"},
		{regexp.MustCompile(`unknown authority`), "the certificate is of a private authority: set tls_config.ca_file, or insecure_skip_verify for a test instance"},
		{regexp.MustCompile(`certificate has expired`), "whoever runs the endpoint must renew its certificate, unless this host's clock is wrong"},
		{regexp.MustCompile(`certificate is (valid for|not valid)|doesn't contain any IP SANs`), "another server answers under this name: check the url"},
		{regexp.MustCompile(`gave HTTP response to HTTPS client`), "this port speaks http without TLS: check the port of the url, or write http://"},
		{regexp.MustCompile(`remote error: tls`), "the server ended the handshake; if it asks for a certificate of the client, set tls_config.cert_file and key_file"},
		{regexp.MustCompile(`deadline exceeded|timeout|no answer`), "a firewall swallows the packets, or the endpoint hangs: samples are kept and sent again"},
		{regexp.MustCompile(`EOF|connection reset|broken pipe`), "the connection was cut before an answer came: samples are kept and sent again"},
	}
})

type hint struct {
	words *regexp.Regexp
	hint  string
}

// HintFor returns what can be done about the last error of a destination; empty where
// nothing is known.
func HintFor(words string) string {
	for _, h := range hints() {
		if h.words.MatchString(words) {
			return h.hint
		}
	}
	return ""
}
