// Package newconfig writes configurations for the agent: from nothing, or from one of
// Prometheus, Grafana Agent (static mode) or vmagent, of which it keeps what an agent
// can use, with its comments and in its order.
package newconfig

import (
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/go-kit/log"

	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// Options of a new configuration.
type Options struct {
	Cluster   string // name below opstrace.io, or the whole domain
	Tenant    string
	TokenFile string // empty: an instance without authentication
	Labels    []Label
	Hostname  string // of this host; empty: nobody knows
}

// Source is a configuration of Prometheus, Grafana Agent or vmagent.
type Source struct {
	Content []byte
	Path    string
	// Moved: the new configuration will lie in another folder, or nobody knows
	// where. Relative paths are made absolute then.
	Moved bool
}

// Result is a configuration that scrapeconfig.Load takes.
type Result struct {
	Text []byte
	// LeftOut and Notes are one line each: what is missing and why, and what is
	// worth knowing about the rest. Lines are those of the source.
	LeftOut, Notes []string
}

func (r *Result) leaveOut(line int, what, why string) {
	r.LeftOut = append(r.LeftOut, fmt.Sprintf("line %d: %s: %s", line, what, why))
}

func (r *Result) note(line int, format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf("line %d: ", line)+fmt.Sprintf(format, args...))
}

//go:embed template.yml
var template string

// New makes a configuration from nothing. The errors are scrapeconfig's.
func New(o Options) (*Result, error) {
	block, err := o.block("")
	if err != nil {
		return nil, err
	}
	labels, err := o.labelLines("  ")
	if err != nil {
		return nil, err
	}
	text := strings.Replace(template, "#OPSTRACE#\n", block+"\n"+hostSection, 1)
	text = strings.Replace(text, "#LABELS#\n", strings.Join(labels, ""), 1)
	return finish(&Result{Text: []byte(text)}, "")
}

// finish proves that the agent takes the result.
func finish(r *Result, source string) (*Result, error) {
	path := source
	if path == "" {
		path = "opstrace-agent.yml"
	}
	_, err := scrapeconfig.Load(r.Text, path, log.NewNopLogger())
	if refused := (*scrapeconfig.Error)(nil); errors.As(err, &refused) {
		if refused.File == path {
			refused.File, refused.Line = source, 0 // a line of a file that nobody has
		}
		return nil, refused
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// block is the opstrace: section, with its comments, and with further settings
// of a remote_write entry.
func (o Options) block(settings string) (string, error) {
	var b strings.Builder
	b.WriteString("# Where the samples go.\nopstrace:\n")
	domain := ""
	if !strings.Contains(o.Cluster, ".") {
		domain = " # " + o.Cluster + ".opstrace.io"
	}
	for _, field := range []struct{ name, value, comment string }{
		{"cluster", o.Cluster, domain},
		{"tenant", o.Tenant, ""},
		{"token_file", o.TokenFile, " # read again for every request"},
	} {
		if field.name == "token_file" && field.value == "" {
			b.WriteString("  # Without a token only an instance without authentication takes samples.\n  #token_file: /etc/opstrace-agent/token\n")
			continue
		}
		value, err := scalar(field.value)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "  %s: %s%s\n", field.name, value, field.comment)
	}
	if !strings.Contains(settings, "tls_config:") {
		b.WriteString("  # A cluster with a certificate of letsencrypt-staging needs in addition:\n  #tls_config:\n  #  insecure_skip_verify: true\n")
	}
	return b.String() + settings, nil
}

// url is where the block sends to.
func (o Options) url(block string) (string, error) {
	cfg, err := scrapeconfig.Load([]byte(block), "opstrace-agent.yml", log.NewNopLogger())
	if refused := (*scrapeconfig.Error)(nil); errors.As(err, &refused) {
		refused.File, refused.Line = "", 0
		return "", refused
	}
	if err != nil {
		return "", err
	}
	return cfg.RemoteWriteConfigs[0].URL.String(), nil
}

// selfJob scrapes the agent, at an indentation.
func selfJob(indent string) []string {
	return []string{
		indent + "# The agent itself: what it keeps, what it sends, what is refused.\n",
		indent + "- job_name: " + selfName + "\n",
		indent + "  static_configs:\n",
		indent + "    - targets: [127.0.0.1:9095]\n",
	}
}

const selfName = "opstrace-agent"

// absolute makes a path independent of the folder of the configuration.
func absolute(path, folder string) (string, error) {
	if filepath.IsAbs(path) {
		return path, nil
	}
	return filepath.Abs(filepath.Join(folder, path))
}
