package scrapeconfig

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/prometheus/prometheus/config"
)

// refuseConversion refuses what upstream takes and delivery cannot account for.
// The first own entries stand in remote_write, the others in the block.
func (s *source) refuseConversion(rws []*config.RemoteWriteConfig, own int) error {
	const field = "convert_nhcb_to_classic"
	for i, rw := range rws {
		if rw.ConvertNHCBToClassic {
			return s.fail(s.entryLine(i, own, field),
				field+" is not supported: of the several series that one sample would become some may be refused, and what became of it could not be counted",
				"send custom buckets as they are, with protobuf_message: io.prometheus.write.v2.Request and send_native_histograms: true, or scrape classic histograms")
		}
	}
	return nil
}

// refuseScheme refuses URLs that no request can be sent to, which upstream takes:
// of one without a scheme, such as mimir:9009/push, the host is taken for it. That of
// a proxy is no different.
func (s *source) refuseScheme(rws []*config.RemoteWriteConfig, own int) error {
	for i, rw := range rws {
		if msg, hint := schemeProblem(rw.URL.URL); msg != "" {
			return s.fail(s.entryLine(i, own, "url"), msg, hint)
		}
		if p := rw.HTTPClientConfig.ProxyURL.URL; p != nil && *p != (url.URL{}) && p.Hostname() == "" {
			return s.fail(s.entryLine(i, own, "proxy_url"), "a proxy_url in remote_write names no host", "write it as in http://proxy:3128")
		}
	}
	return nil
}

// schemeProblem says why no request can be sent to u, and what to write; empty if one
// can.
func schemeProblem(u *url.URL) (msg, hint string) {
	known := u.Scheme == "http" || u.Scheme == "https"
	if known && u.Hostname() != "" {
		return "", ""
	}
	msg, hint = "a url in remote_write is not one of http or https", "write https:// in front of the host, or http:// for an endpoint without TLS"
	// Of one that holds a password, nobody knows which part it is.
	text := u.String()
	secret := strings.ContainsAny(text, "@?")
	switch {
	case known && secret:
		return "a url in remote_write names no host", hint
	case known:
		return fmt.Sprintf("url %q names no host", text), fmt.Sprintf("write it as in %s://host/api/v1/push", u.Scheme)
	case secret:
		return msg, hint
	}
	if bare := strings.TrimLeft(text, "/"); !strings.Contains(text, "://") && bare != "" {
		hint = fmt.Sprintf("write https://%s, or http:// for an endpoint without TLS", bare)
	}
	return fmt.Sprintf("url %q is not one of http or https", text), hint
}

// entryLine returns the line of a field of the destination at index, or of its
// entry if the field is not there. The first own entries stand in remote_write,
// the others in the block.
func (s *source) entryLine(index, own int, field string) int {
	if index >= own {
		return s.blocks[blockKey].line(index-own, field)
	}
	line := 0
	root := rootOf(s.rest)
	if root == nil {
		return line
	}
	for _, i := range find(root, "remote_write") {
		line = root.Content[i].Line
		list := root.Content[i+1]
		if index >= len(list.Content) {
			continue
		}
		entry := list.Content[index]
		line = entry.Line
		if keys := find(entry, field); len(keys) > 0 {
			line = entry.Content[keys[0]].Line
		}
	}
	return line
}
