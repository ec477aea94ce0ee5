package configcheck

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

var (
	variable = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*\}|\([A-Za-z_]\w*\))`)
	})
	// A secret may hold anything, so nothing of it is shown unless all of it is a
	// variable.
	wholeVariable = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?:\w+ )?` + variable().String() + `$`) })
	userInfo      = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`://[^\s/]*@`) })
	leadingName   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_]\w*`) })
	variableName  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_]\w*$`) })
)

// variables finds those that are not set, and those in places where nothing is
// replaced: upstream does so in external labels only.
func (l *look) variables() {
	l.scalars(func(p place) {
		switch {
		case p.keys[0] == "global" && p.under("external_labels"):
			l.externalLabel(p)
		case p.keys[len(p.keys)-1] != "regex" && !slices.ContainsFunc(p.keys, isRelabelling):
			for _, name := range untouched(p) {
				l.add(Finding{File: p.path, Line: p.node.Line,
					Msg:  fmt.Sprintf("%s: %s is taken as it stands: variables are replaced in external_labels only", p.keys[len(p.keys)-1], name),
					Hint: untouchedHint(p)})
			}
		}
	})
}

// isRelabelling reports whether $1 and ${name} below a key are those of a regular
// expression.
func isRelabelling(key string) bool { return strings.HasSuffix(key, "relabel_configs") }

func untouchedHint(p place) string {
	switch {
	case isSecret(p.keys):
		return "write the value here, or put a secret into a file (token_file, credentials_file, password_file)"
	case p.under("labels"):
		return "write the value here, or set the label in global.external_labels"
	}
	return "write the value here"
}

func untouched(p place) []string {
	if isSecret(p.keys) {
		if wholeVariable().MatchString(p.node.Value) {
			return variable().FindAllString(p.node.Value, 1)
		}
		return nil
	}
	return variable().FindAllString(userInfo().ReplaceAllString(p.node.Value, "://"), -1)
}

var secretKeys = []string{"authorization", "basic_auth", "bearer_token", "oauth2", "sigv4", "azuread", "headers", "http_headers", "params"}

func isSecret(keys []string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { return slices.Contains(secretKeys, k) || redact.Secret(k) })
}

// expanded returns the names of the variables that upstream replaces in an external
// label: it keeps a $ in front of what is no name, and takes all between braces for one.
func expanded(value string) (names []string) {
	os.Expand(value, func(name string) string {
		if name != "$" && name != "" {
			names = append(names, name)
		}
		return ""
	})
	return names
}

func (l *look) externalLabel(p place) {
	label, value := p.keys[len(p.keys)-1], p.node.Value
	for _, name := range expanded(value) {
		if os.Getenv(name) != "" {
			continue
		}
		found := Finding{File: p.path, Line: p.node.Line,
			Msg:  fmt.Sprintf("external label %s: $%s is not set here: without it the label is empty", label, name),
			Hint: "set it where the agent runs, for the packaged service in /etc/default/opstrace-agent; write $$ for a dollar sign"}
		if short := leadingName().FindString(name); short != "" && short != name {
			found.Msg = fmt.Sprintf("external label %s: ${%s} is no variable: the label is empty", label, name)
			found.Hint = "write ${" + short + "}: there are no default values"
		}
		l.add(found)
	}
	for _, name := range variable().FindAllString(value, -1) {
		if inner, ok := strings.CutPrefix(name, "$("); ok {
			l.add(Finding{File: p.path, Line: p.node.Line,
				Msg:  fmt.Sprintf("external label %s: %s is taken as it stands", label, name),
				Hint: "write ${" + strings.TrimSuffix(inner, ")") + "}"})
		}
	}
}
