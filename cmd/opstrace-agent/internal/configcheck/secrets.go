package configcheck

import (
	"os"
	"slices"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// everybody is the bit of a mode by which any user of the host may read the file.
const everybody = 0o004

// openSecrets finds the files of the configuration that hold a secret themselves, and
// that any user of the host may read.
func (l *look) openSecrets() {
	for _, d := range l.docs {
		info, err := os.Stat(d.path)
		if err != nil || !info.Mode().IsRegular() || info.Mode()&everybody == 0 {
			continue
		}
		if line, key := secretOf(d); line > 0 {
			l.add(Finding{File: d.path, Line: line,
				Msg:  "every user of this host may read " + key,
				Hint: "chmod o-r the file, and chgrp it to the group that runs the agent (of the service: opstrace-agent), or put the secret into a file of its own (token_file, credentials_file, password_file)"})
		}
	}
}

// HoldsSecret reports whether a configuration has a password or a token in its text.
func HoldsSecret(text []byte) bool {
	l := &look{}
	l.parse("", text)
	for _, d := range l.docs {
		if line, _ := secretOf(d); line > 0 {
			return true
		}
	}
	return false
}

// secretOf is where the first secret stands in a file, and under which key; 0 where
// there is none.
func secretOf(d document) (line int, key string) {
	(&look{docs: []document{d}}).scalars(func(p place) {
		if line == 0 && isSecretValue(p) {
			line, key = p.node.Line, p.keys[len(p.keys)-1]
		}
	})
	return line, key
}

// isSecretValue reports whether a value is a secret itself, and not the name of a file
// that holds it.
func isSecretValue(p place) bool {
	key := p.keys[len(p.keys)-1]
	switch {
	case p.node.Value == "" || p.under("external_labels") || slices.ContainsFunc(p.keys, isRelabelling):
		return false
	case userInfo().MatchString(p.node.Value):
		return true
	case key == "files" || strings.HasSuffix(key, "_file") || strings.HasSuffix(key, "_url"):
		return false
	case p.under("params"):
		return redact.SecretParam(key)
	case p.under("labels"):
		param, ok := strings.CutPrefix(key, model.ParamLabelPrefix)
		return ok && redact.SecretParam(param)
	}
	return slices.Contains([]string{"credentials", "secrets"}, key) || redact.Secret(key)
}
