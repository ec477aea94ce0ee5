package main

import (
	"fmt"
	"strings"
	"time"
)

// scrapeInterval is a second: a scrape that a busy machine makes late would else get the
// time of the one before.
const scrapeInterval = time.Second

// remoteTimeout is what an endpoint has for an answer.
const remoteTimeout = 5 * time.Second

// syncInterval is how often the agent notes what it has done.
const syncInterval = 5 * time.Second

// configuration is what the agent's file says, as far as it changes.
type configuration struct {
	scraping bool
	removed  string         // destination
	renamed  string         // destination
	changes  map[string]int // how often each thing was changed
	spoilt   string         // how the file is spoilt; empty: it is not
}

// text is the file when it is not spoilt.
func (c configuration) text(w *world) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# change %d\nglobal:\n  scrape_interval: %s\n  scrape_timeout: %[2]s\n  scrape_native_histograms: true\n", c.changes["comment"], scrapeInterval)
	b.WriteString("remote_write:\n")
	for _, d := range w.destinations {
		if d.name != c.removed {
			b.WriteString(c.entry(d, w.names != nil))
		}
	}
	if !c.scraping {
		b.WriteString("scrape_configs: []\n")
		return b.String()
	}
	b.WriteString("scrape_configs:\n")
	for i, t := range w.scraped {
		if t.sent {
			continue
		}
		interval := scrapeInterval
		if i == 0 && c.changes["interval"]%2 == 1 {
			interval = 2 * scrapeInterval
		}
		b.WriteString(w.job(t, interval))
	}
	return b.String()
}

// job is the entry of scrape_configs of a target.
func (w *world) job(t *target, interval time.Duration) string {
	return fmt.Sprintf("  - job_name: %s\n    scrape_interval: %s\n    metrics_path: %s\n    static_configs:\n      - targets: ['%s']\n        labels: {instance: %[1]s}\n",
		t.Name, interval, strings.TrimPrefix(w.targets.URL(t.Target), "http://"+w.targets.Addr()), w.targets.Addr())
}

// entry is one of remote_write, with back-offs that are short beside a trouble.
func (c configuration) entry(d *destination, named bool) string {
	name, url := d.name, d.endpoint.URL()
	if named {
		url = strings.Replace(url, "127.0.0.1", hostOf(d.name), 1)
	}
	if name == c.renamed {
		name += "-renamed"
	}
	entry := fmt.Sprintf(`  - name: %s
    url: %s
    authorization: {credentials_file: %s}
    remote_timeout: %s
    headers: {X-Change: "%d"}
    queue_config: {batch_send_deadline: 1s, min_backoff: 100ms, max_backoff: 1s, max_samples_per_send: %d, capacity: 2500}
    metadata_config: {send: false}
`, name, url, d.tokenFile(), remoteTimeout, c.changes["header"], 500-100*(c.changes["batch"]%3))
	if d.endpoint.CA() != nil {
		entry += fmt.Sprintf("    tls_config: {ca_file: %s.pem}\n", d.name)
	}
	return entry + d.extra
}

// spoil returns what is there in the place of the file.
func (c configuration) spoil(content string) string {
	switch c.spoilt {
	case "unknown":
		return content + "nonsense: 1\n"
	case "cut":
		// Without any scrape job: it could be meant so behind the first.
		return content[:strings.Index(content, "scrape_configs:")-40]
	case "empty":
		return ""
	case "binary":
		return "\x00\x01\x02" + content
	default:
		return content
	}
}
