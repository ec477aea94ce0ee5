package newconfig

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/discovery"
	"go.yaml.in/yaml/v3"

	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// serverSections are those that an agent has no use for, each with the reason.
var serverSections = map[string]string{
	"alerting":    "an agent sends no alerts",
	"otlp":        "an agent receives nothing",
	"remote_read": "an agent answers no queries",
	"rule_files":  "rules are evaluated where the samples are queried",
	"storage":     "an agent keeps samples only until they are delivered",
}

// From makes a configuration from one of Prometheus, or of another agent that scrapes
// by Prometheus' jobs. Its errors are *scrapeconfig.Error.
func From(o Options, s Source) (*Result, error) {
	block, err := o.block("")
	if err != nil {
		return nil, err
	}
	c := &conversion{source: s, authorized: o.TokenFile != ""}
	if c.url, err = o.url(block); err != nil {
		return nil, err
	}
	rest, err := c.takeApart()
	if err != nil {
		return nil, c.refuse(err)
	}
	if c.login != nil {
		return nil, c.login
	}
	if c.hasBlock {
		return nil, &scrapeconfig.Error{File: s.Path, Msg: "it has an opstrace section already", Hint: "run the agent with it as it is"}
	}
	if block, err = o.block(c.settings); err != nil {
		return nil, err
	}
	if c.result.Text, err = c.complete(rest, block, o); err != nil {
		return nil, c.refuse(err)
	}
	return finish(&c.result, s.Path)
}

// takeApart returns what an agent can use of the source.
func (c *conversion) takeApart() ([]byte, error) {
	of, doc := translate(c.source, &c.result)
	c.origin = of
	if doc != nil {
		anew, lines, err := writeAnew(doc)
		if err != nil {
			return nil, err
		}
		c.lines = lines
		c.result.Notes = append(c.result.Notes, "it was a configuration of "+of.name+", and was written anew: blank lines are gone")
		return c.cut(anew)
	}
	told := c.result
	rest, err := c.cut(c.source.Content)
	for _, resolve := range []bool{false, true} {
		if err == nil {
			break
		}
		// Not in block style, or with anchors in what is left out: written anew, it
		// can be taken apart.
		var anew []byte
		if anew, c.lines, err = reformat(c.source.Content, resolve); err != nil {
			return nil, err
		}
		c.settings = ""
		c.result = Result{LeftOut: slices.Clone(told.LeftOut), Notes: append(slices.Clone(told.Notes), "it was written anew, to be taken apart: blank lines are gone")}
		rest, err = c.cut(anew)
	}
	return rest, err
}

// conversion turns one configuration into another.
type conversion struct {
	source     Source
	origin     origin
	lines      map[int]int // of the source, by those of what was written anew; nil: it was not
	url        string      // of the new destination
	authorized bool        // by a token file of its own
	settings   string      // that an old entry for this destination has; empty: there was none
	hasBlock   bool
	login      *scrapeconfig.Error // the first that this build does not have; nil: there is none
	result     Result
}

func (c *conversion) refuse(err error) error {
	return &scrapeconfig.Error{File: c.source.Path, Msg: err.Error(),
		Hint: c.origin.check, Err: err}
}

// line is where a node stands in the source.
func (c *conversion) line(n *yaml.Node) int {
	if c.lines == nil {
		return n.Line
	}
	return c.lines[n.Line]
}

func (c *conversion) leaveOut(n *yaml.Node, what, why string) {
	c.result.leaveOut(c.line(n), what, why)
}

var errFlow = errors.New("a list in brackets has no lines of its own")

// cut takes out what an agent cannot use.
func (c *conversion) cut(content []byte) ([]byte, error) {
	t, err := parse(content)
	if err != nil {
		return nil, err
	}
	if t.root == nil {
		return t.rest(), nil
	}
	if t.root.Style&yaml.FlowStyle != 0 {
		return nil, errFlow // all of it may be one line
	}
	if c.source.Moved || c.origin == ofGrafana {
		c.fixPaths(t, t.root)
	}
	end := len(t.lines) + 1
	for i := 0; i < len(t.root.Content); i += 2 {
		key, val := t.root.Content[i], t.root.Content[i+1]
		if key.Value != "scrape_configs" && key.Value != "remote_write" || val.Kind != yaml.SequenceNode || len(val.Content) == 0 {
			continue
		}
		if val.Style&yaml.FlowStyle != 0 {
			return nil, errFlow
		}
		t.cutItems(val, t.keyEnd(t.root, i, end), func(item *yaml.Node, to int) bool {
			if key.Value == "remote_write" {
				c.findLogin(item)
				c.cutConversion(t, item, to)
				return c.sameDestination(item)
			}
			return c.cutDiscoveries(t, item, to)
		})
	}
	c.hasBlock = value(t.root, "opstrace") != nil
	t.cutKeys(t.root, end, func(key, _ *yaml.Node) bool {
		why, unwanted := serverSections[key.Value]
		if unwanted {
			c.leaveOut(key, key.Value, why)
		}
		return unwanted
	})
	slices.SortStableFunc(c.result.LeftOut, byLine)
	return t.checked()
}

func byLine(a, b string) int { return lineOf(a) - lineOf(b) }

func lineOf(s string) (n int) {
	_, _ = fmt.Sscanf(s, "line %d:", &n)
	return n
}

// cutDiscoveries takes the discoveries out of a job that this build does not
// have. It reports whether no source of targets is left.
func (c *conversion) cutDiscoveries(t *text, job *yaml.Node, end int) bool {
	if job.Kind != yaml.MappingNode {
		return false
	}
	name := "a job without a name"
	if n := value(job, "job_name"); n != nil {
		name = "job " + n.Value
	}
	missing := func(key *yaml.Node) bool {
		sd, ok := strings.CutSuffix(key.Value, "_sd_configs")
		return ok && !slices.Contains(discovery.RegisteredConfigNames(), sd)
	}
	var unwanted, left int
	for i := 0; i < len(job.Content); i += 2 {
		switch key := job.Content[i]; {
		case missing(key):
			unwanted++
			c.leaveOut(key, name, fmt.Sprintf("%s is only in the full build, opstrace-agent-full", key.Value))
		case strings.HasSuffix(key.Value, "_sd_configs"), key.Value == "static_configs", key.Value == "<<":
			left++
		}
	}
	if unwanted == 0 || left == 0 {
		return unwanted > 0
	}
	t.cutKeys(job, end, func(key, _ *yaml.Node) bool { return missing(key) })
	return false
}

// findLogin remembers the login of a cloud that this build does not have: without it
// the entry is not what it was, and what finish says of it has no line.
func (c *conversion) findLogin(rw *yaml.Node) {
	if rw.Kind != yaml.MappingNode || c.login != nil {
		return
	}
	for i := 0; i < len(rw.Content); i += 2 {
		key, val := rw.Content[i], rw.Content[i+1]
		if msg, hint := scrapeconfig.MissingLogin(key.Value); msg != "" && val.Tag != "!!null" {
			c.login = &scrapeconfig.Error{File: c.source.Path, Line: c.line(key), Msg: msg, Hint: hint}
			return
		}
	}
}

// cutConversion takes out of an entry of remote_write what an agent refuses.
func (c *conversion) cutConversion(t *text, rw *yaml.Node, end int) {
	if rw.Kind != yaml.MappingNode {
		return
	}
	t.cutKeys(rw, end, func(key, _ *yaml.Node) bool {
		unwanted := key.Value == "convert_nhcb_to_classic"
		if unwanted {
			c.leaveOut(key, "remote_write", key.Value+" makes several series of one sample, which cannot be accounted for")
		}
		return unwanted
	})
}

// sameDestination reports whether an entry of remote_write goes where the new
// section goes: the samples would be sent twice. The section gets its settings.
func (c *conversion) sameDestination(rw *yaml.Node) bool {
	url := value(rw, "url")
	if url == nil {
		return false
	}
	if url.Value == c.url && c.settings == "" && c.takeSettings(rw) == nil {
		c.result.note(c.line(rw), "remote_write to %s has become the opstrace section", c.url)
		return true
	}
	c.result.note(c.line(rw), "remote_write to another destination is kept: the agent sends there as well")
	return false
}

// authorization are the fields for which the section's token_file stands.
var authorization = []string{"authorization", "basic_auth", "bearer_token", "bearer_token_file", "oauth2"}

func (c *conversion) takeSettings(rw *yaml.Node) error {
	rest := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i < len(rw.Content); i += 2 {
		key := rw.Content[i].Value
		if key == "url" || c.authorized && slices.Contains(authorization, key) {
			continue
		}
		rest.Content = append(rest.Content, rw.Content[i], rw.Content[i+1])
	}
	if len(rest.Content) == 0 {
		return nil
	}
	text, err := encode(rest)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		c.settings += "  " + line
	}
	return nil
}

// fixPaths makes relative paths absolute.
func (c *conversion) fixPaths(t *text, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		for _, item := range n.Content {
			c.fixPaths(t, item)
		}
		return
	}
	for i := 0; i < len(n.Content); i += 2 {
		key, val := n.Content[i].Value, n.Content[i+1]
		switch {
		case val.Kind == yaml.ScalarNode && strings.HasSuffix(key, "_file"):
			c.fixPath(t, val)
		case val.Kind == yaml.SequenceNode && (key == "files" || key == "scrape_config_files"):
			for _, item := range val.Content {
				if item.Kind == yaml.ScalarNode {
					c.fixPath(t, item)
				}
			}
		default:
			c.fixPaths(t, val)
		}
	}
}

func (c *conversion) fixPath(t *text, n *yaml.Node) {
	if n.Value == "" || filepath.IsAbs(n.Value) {
		return
	}
	path, err := absolute(n.Value, filepath.Dir(c.source.Path))
	given := n.Value
	if err == nil && t.replace(n, path) {
		if c.origin == ofGrafana {
			c.result.note(c.line(n), "%s is taken to be %s: Grafana Agent looks for it where it was started", given, path)
		}
		n.Value = path
		return
	}
	c.result.note(c.line(n), "%s is relative to the folder of the new file", n.Value)
}

// complete adds the new sections.
func (c *conversion) complete(rest []byte, block string, o Options) ([]byte, error) {
	t, err := parse(rest)
	if err != nil {
		return nil, err
	}
	c.noteOwnServer(t)
	if host := c.hostSection(t, o.Hostname); host != "" {
		block += "\n" + host
	}
	c.addSelf(t)
	if t, err = parse(t.rest()); err != nil {
		return nil, err
	}
	if err := c.addLabels(t, o.Labels); err != nil {
		return nil, err
	}
	if t, err = parse(t.rest()); err != nil {
		return nil, err
	}
	first := len(t.lines) + 1
	if t.root != nil && len(t.root.Content) > 0 {
		first = t.head(t.root.Content[0].Line, 1)
	}
	t.insert(first, block, "\n")
	return t.rest(), nil
}

// replaced are the ports of what the agent is most often to replace.
var replaced = map[string]string{"9090": ofPrometheus.name, "12345": ofGrafana.name, "8429": ofVmagent.name}

// noteOwnServer tells of jobs that scrape a program of this host that the agent is
// most often to replace.
func (c *conversion) noteOwnServer(t *text) {
	jobs := value(t.root, "scrape_configs")
	if jobs == nil {
		return
	}
	walk(jobs, func(n *yaml.Node) {
		host, port, err := net.SplitHostPort(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || host != "localhost" && host != "127.0.0.1" || replaced[port] == "" {
			return
		}
		c.result.Notes = append(c.result.Notes, fmt.Sprintf("%s is scraped still: that is the %s of this host, most often; remove the job if it is to be stopped", n.Value, replaced[port]))
	})
}

// addSelf adds the job that scrapes the agent, as the last of all.
func (c *conversion) addSelf(t *text) {
	jobs := value(t.root, "scrape_configs")
	if jobs == nil {
		t.lines = append(t.lines, "\n", "scrape_configs:\n")
		t.insert(len(t.lines)+1, selfJob("  ")...)
		return
	}
	if jobs.Kind == yaml.SequenceNode && len(jobs.Content) > 0 {
		for _, job := range jobs.Content {
			if n := value(job, "job_name"); n != nil && n.Value == selfName {
				return
			}
		}
		t.insert(t.sectionEnd("scrape_configs"), append([]string{"\n"}, selfJob(strings.Repeat(" ", jobs.Column-1))...)...)
		return
	}
	for i := 0; i < len(t.root.Content); i += 2 {
		if key := t.root.Content[i]; key.Value == "scrape_configs" {
			t.lines[key.Line-1] = "scrape_configs:\n" // it may have been an empty list
			t.insert(key.Line+1, append(selfJob("  "), "\n")...)
		}
	}
}
