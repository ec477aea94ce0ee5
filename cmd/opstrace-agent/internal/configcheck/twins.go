package configcheck

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// hostish names are those of labels and variables that tell one host from others.
var hostish = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(^|_)(host|hostname|node|nodename|machine|device|replica|vm|server|pod|serial)(_|$)`)
})

const twinHint = "set a label of its own for each host in global.external_labels, such as host: NAME, or host: ${HOSTNAME} in a file that all of them share"

// twins finds out whether two hosts with this file would send the same series.
func (l *look) twins(path string) {
	perHost, line := l.perHostLabel()
	if perHost {
		return
	}
	for _, rw := range l.cfg.RemoteWriteConfigs {
		for _, j := range l.jobs {
			for _, target := range j.targets {
				ls := l.sent(rw, target)
				instance := ls.Get(model.InstanceLabel)
				if ls.IsEmpty() || !everywhere(instance) || l.namesHost(ls) {
					continue
				}
				l.add(Finding{File: path, Line: line, Hint: twinHint,
					Msg: fmt.Sprintf("two hosts with this file could not be told apart: both would send the series of %s (job %s) with the same labels, and one of them is refused", instance, j.name)})
				return
			}
		}
	}
}

// perHostLabel reports whether an external label is of this host alone, and where
// external_labels stand.
func (l *look) perHostLabel() (found bool, line int) {
	l.scalars(func(p place) {
		if p.keys[0] != "global" || !p.under("external_labels") {
			return
		}
		name, raw := p.keys[len(p.keys)-1], p.node.Value
		if line == 0 {
			line = p.node.Line
		}
		switch variables := expanded(raw); {
		case name == model.InstanceLabel || name == model.JobLabel: // what a series has already wins
		case strings.Contains(raw, "$("): // it stands there on every host
		case len(variables) > 0:
			for _, v := range variables {
				found = found || variableName().MatchString(v) && (hostish().MatchString(name) || hostish().MatchString(v))
			}
		case l.isHost(raw):
			found = true
		case hostish().MatchString(name):
			found = true
			if l.host != "" && (name == "host" || name == "hostname" || name == "nodename") {
				l.add(Finding{File: p.path, Line: p.node.Line,
					Msg:  fmt.Sprintf("external label %s is %q, and this host is called %q: right unless the file is a copy of another host's", name, raw, l.host),
					Hint: "hosts with the same label overwrite each other"})
			}
		}
	})
	return found, line
}

// isHost reports whether a value is this host's name, with or without its domain.
func (l *look) isHost(value string) bool {
	short := func(s string) string { s, _, _ = strings.Cut(s, "."); return strings.ToLower(s) }
	return l.host != "" && value != "" && short(value) == short(l.host)
}

// namesHost reports whether a label of a series tells its host. The external labels
// have been looked at: they are the same in all series.
func (l *look) namesHost(ls labels.Labels) (found bool) {
	ls.Range(func(label labels.Label) {
		external := l.cfg.GlobalConfig.ExternalLabels.Get(label.Name) == label.Value
		if label.Name != model.JobLabel && label.Name != model.InstanceLabel && !external {
			found = found || hostish().MatchString(label.Name) || l.isHost(label.Value)
		}
	})
	return found
}

// everywhere reports whether an address means another thing on every host.
func everywhere(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	host = strings.Trim(host, "[]")
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast()
	}
	return host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		strings.HasPrefix(host, "localhost.") || host == "host.docker.internal"
}
