package scrapeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v3"

	"github.com/opstrace/opstrace-agent/agent/regular"
)

// Upstream's errors come in three shapes: a list of decoding errors, each with
// a line; a syntax error, whose line is often missing or one off; and a plain
// sentence of some validation, without a line. explain.go gives all of them
// file, line and hint.

const manual = "see https://prometheus.io/docs/prometheus/latest/configuration/configuration/"

var (
	typeErrors = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^  line (\d+): (.*)$`) })
	// More than user info may match: a password with a slash must not be shown.
	userInfoInText = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(://)[^\s"]*@`) })
	jobName        = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`job name ("(?:[^"\\]|\\.)*")`) })
)

// explain turns upstream's refusal of the rest of the file into an *Error.
func (s *source) explain(err error) error {
	return explain(s.path, s.rest, err, tryLoad)
}

func tryLoad(content []byte) error {
	_, err := load(content, promslog.NewNopLogger())
	return err
}

// explain finds the line of err, which try returned for content.
func explain(path string, content []byte, err error, try func([]byte) error) *Error {
	// Upstream joins some errors by line breaks, and quotes URLs whole that it
	// cannot parse.
	msg := userInfoInText().ReplaceAllString(strings.ReplaceAll(err.Error(), "\n", "; "), "${1}xxxxx@")
	e := &Error{File: path, Msg: msg, Hint: manual, Err: err}
	if found := typeErrors().FindAllStringSubmatch(err.Error(), -1); found != nil {
		e.setDecoding(found)
		return e
	}
	root := rootOf(content)
	if msg, ok := strings.CutPrefix(msg, "yaml: "); ok {
		e.Msg = msg
		if root == nil {
			e.setSyntax(content)
			return e
		}
	}
	e.Hint = hintFor(e.Msg)
	if root != nil {
		e.Line = locate(root, err, try)
	}
	return e
}

// hintFor is what to do about a sentence of upstream's.
func hintFor(msg string) string {
	switch {
	case strings.HasPrefix(msg, "found multiple "):
		return "give each of them a name of its own"
	case strings.HasPrefix(msg, `parse " `):
		return "remove the blank in front of the URL"
	case strings.HasSuffix(msg, "first path segment in URL cannot contain colon"), // 10.0.0.1:9009/push
		strings.HasSuffix(msg, "missing protocol scheme"), msg == "URL scheme must be 'http' or 'https'":
		return "write https:// or http:// in front of the host"
	case strings.HasSuffix(msg, "host is missing in URL"):
		return "write the host behind https:// or http://"
	}
	return manual
}

// setDecoding reports the first of several decoding errors in full, and the
// others behind it.
func (e *Error) setDecoding(found [][]string) {
	e.Line, _ = strconv.Atoi(found[0][1])
	e.Msg, e.Hint = explainField(found[0][2])
	for _, f := range found[1:] {
		msg, _ := explainField(f[2])
		e.Msg += fmt.Sprintf("; line %s: %s", f[1], msg)
	}
}

var unknownField = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^field (.+) not found in type (\S+)$`) })

func explainField(msg string) (string, string) {
	m := unknownField().FindStringSubmatch(msg)
	switch {
	case m != nil && slices.Contains(blockKeys, m[1]) && m[2] == "config.ScrapeConfigs":
		return msg, "move the " + m[1] + " block into the main configuration file"
	case m != nil && (m[1] == blockKey || m[1] == hostKey && m[2] == "config.plain"):
		return msg, "write `" + m[1] + ":` once, at the top level of the file, in UTF-8 and at the start of a line"
	case m != nil && m[2] == "scrapeconfig.hostJob":
		return fmt.Sprintf("unknown field %q in the host block", m[1]),
			meant(m[1], "the block takes collectors, instance, job_name, scrape_interval, scrape_timeout, sample_limit, relabel_configs and metric_relabel_configs")
	case m != nil && strings.HasPrefix(m[2], "scrapeconfig."):
		return fmt.Sprintf("unknown field %q in the opstrace block", m[1]),
			meant(m[1], "the block takes cluster, tenant, token_file and every field of a remote_write entry")
	case m != nil:
		if missing, hint := missingDiscovery(m[1], m[2]); missing != "" {
			return missing, hint
		}
		return msg, meant(m[1], "check its spelling and its indentation; "+manual)
	case strings.Contains(msg, " already set in "), strings.Contains(msg, " already defined at "):
		return msg, "keep one of them"
	}
	return strings.Replace(msg, "into scrapeconfig.plain", "into an entry of the opstrace block", 1), manual
}

// setSyntax finds the line of a syntax error and removes the one that the
// parser wrote into the message.
func (e *Error) setSyntax(content []byte) {
	e.Hint = "check the indentation, the colons and the quotes here and in the line above"
	line, problem := cutLine(e.Msg)
	e.Msg = problem
	lines := splitLines(content)
	switch {
	case strings.HasPrefix(problem, "unknown anchor '"):
		e.Hint = "define the anchor before it is used"
		e.Line = firstLine(lines, "*"+strings.Split(problem, "'")[1])
	case problem == "control characters are not allowed", strings.Contains(problem, "UTF-8"):
		e.Hint = "write the file as UTF-8 text"
		e.Line = firstBadLine(lines)
	case strings.HasPrefix(problem, "did not find expected ',' or"),
		strings.HasPrefix(problem, "could not find expected ':'"),
		strings.HasPrefix(problem, "found unexpected "):
		// What was left open is worth more than where the parser gave up.
		e.Line = openedLine(content, problem, line)
	case strings.HasPrefix(problem, "did not find expected "):
		e.Line = line + 1 // The parser, unlike the scanner, counts from 0.
	default:
		e.Line = max(line, 1)
	}
	if e.Line > len(lines) {
		e.Line = len(lines)
	}
	if e.Line > 1 && len(lines[e.Line-1]) == 0 {
		e.Line-- // The end of the file is the end of its last line.
	}
	if e.Line > 0 && bytes.HasPrefix(bytes.TrimLeft(lines[e.Line-1], " "), []byte("\t")) {
		e.Hint = "indent with spaces: YAML does not allow tabs there"
	}
}

// cutLine splits "line 3: problem".
func cutLine(msg string) (int, string) {
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if n, problem, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(n); err == nil {
				return line, problem
			}
		}
	}
	return 0, msg
}

// openedLine returns the line in which the quote, bracket or key of the
// problem begins. yaml.v3 tells it, except on the first line, which it takes
// for "unknown": an empty line above makes it the second.
func openedLine(content []byte, problem string, fallback int) int {
	content = append([]byte("\n"), bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))...)
	err := yaml.Unmarshal(content, &yaml.Node{})
	if err == nil {
		return max(fallback, 1)
	}
	line, got := cutLine(strings.TrimPrefix(err.Error(), "yaml: "))
	if got != problem || line == 0 {
		return max(fallback, 1)
	}
	if strings.HasPrefix(problem, "did not find") {
		line++ // See setSyntax.
	}
	return line - 1
}

func firstLine(lines [][]byte, text string) int {
	for n, line := range lines {
		if bytes.Contains(line, []byte(text)) {
			return n + 1
		}
	}
	return 0
}

func firstBadLine(lines [][]byte) int {
	for n, line := range lines {
		if !bytes.Equal(bytes.ToValidUTF8(line, nil), line) || bytes.ContainsFunc(line, isControl) {
			return n + 1
		}
	}
	return 0
}

func isControl(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r >= 0x7f && r < 0xa0 && r != 0x85
}

// explainIncluded turns the refusal of one of scrape_config_files into an
// *Error that names that file.
func (s *source) explainIncluded(err error, cfg *config.Config) error {
	quoted, qerr := strconv.QuotedPrefix(err.Error())
	inner := errors.Unwrap(err)
	if qerr != nil || inner == nil {
		return &Error{File: s.path, Line: s.line("scrape_config_files"), Msg: err.Error(), Hint: manual, Err: err}
	}
	path, _ := strconv.Unquote(quoted)
	content, _ := regular.Read(path) // If it cannot be read, that is the error.
	e := explain(path, content, inner, func(b []byte) error {
		global, err := yaml.Marshal(map[string]any{"global": cfg.GlobalConfig})
		if err != nil {
			return err
		}
		return tryLoad(append(b, global...))
	})
	if m := jobName().FindStringSubmatch(e.Msg); e.Line == 0 && m != nil {
		// The other job of this name may lie in another file.
		e.Line = lastJob(content, m[1])
	}
	return e
}

// lastJob returns the line of the last job of that (quoted) name.
func lastJob(content []byte, quoted string) int {
	name, _ := strconv.Unquote(quoted)
	root, line := rootOf(content), 0
	if root == nil {
		return 0
	}
	walk(root, func(n *yaml.Node) {
		for _, i := range find(n, "job_name") {
			if n.Content[i+1].Value == name {
				line = n.Content[i].Line
			}
		}
	})
	return line
}
