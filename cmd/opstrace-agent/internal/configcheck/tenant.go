package configcheck

import (
	"fmt"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/delivery/selection"
	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/tenantlabel"
)

const labelHint = "rename it, or drop it with write_relabel_configs (action: labeldrop)"

// tenantLabels finds labels for which a tenant would refuse every sample: those of
// targets and hosts as they would be sent, and those that rules set.
func (l *look) tenantLabels() {
	tenants := false
	for _, rw := range l.cfg.RemoteWriteConfigs {
		if !tenantlabel.Asked(rw.URL.URL) {
			continue
		}
		tenants = true
		for _, j := range l.jobs {
			for _, target := range j.targets {
				l.judge(l.sent(rw, target), j.name)
			}
		}
		// Targets that only a server knows get the external labels too.
		l.judge(l.sent(rw, labels.FromStrings(model.JobLabel, "j", model.InstanceLabel, "i")), "")
	}
	if tenants {
		l.ruleLabels()
	}
}

// sent returns the labels of a target's up, as a destination gets them; empty if
// it does not.
func (l *look) sent(rw *config.RemoteWriteConfig, target labels.Labels) labels.Labels {
	b := labels.NewBuilder(target)
	up := b.Set(model.MetricNameLabel, "up").Labels()
	ls, keep := selection.ExternalAndRelabelled(b, up, l.cfg.GlobalConfig.ExternalLabels, rw.WriteRelabelConfigs)
	if !keep {
		return labels.EmptyLabels()
	}
	return ls
}

func (l *look) judge(ls labels.Labels, job string) {
	ls.Range(func(label labels.Label) {
		if problem := tenantlabel.Problem(label.Name, label.Value); problem != "" {
			path, line := l.lineOf(label.Name)
			hint := labelHint
			if tenantlabel.Problem(label.Name, "x") == "" { // it is the value
				hint = "shorten it, or drop the label with write_relabel_configs (action: labeldrop)"
			}
			l.add(Finding{File: path, Line: line, Msg: problem, Hint: hint, Fatal: true})
		}
	})
	if n := ls.Len(); n > tenantlabel.MaxLabels {
		l.add(Finding{File: l.docs[0].path, Msg: fmt.Sprintf("series of job %q have %d labels or more, and an Opstrace tenant takes %d", job, n, tenantlabel.MaxLabels),
			Hint: "drop some with relabel_configs or write_relabel_configs (action: labeldrop)", Fatal: true})
	}
}

// ruleLabels looks at labels that relabelling sets.
func (l *look) ruleLabels() {
	l.scalars(func(p place) {
		if p.keys[len(p.keys)-1] != "target_label" || strings.HasPrefix(p.node.Value, "__") || strings.Contains(p.node.Value, "$") {
			return
		}
		if problem := tenantlabel.Problem(p.node.Value, "x"); problem != "" {
			l.add(Finding{File: p.path, Line: p.node.Line, Msg: problem, Hint: "write another target_label", Fatal: true})
		}
	})
}
