package pushcheck

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
	"github.com/opstrace/opstrace-agent/agent/delivery/selection"
	"github.com/opstrace/opstrace-agent/agent/redact"
)

// sampleMetric is the name of what is written for a check.
const sampleMetric = "opstrace_agent_check"

// writeSample posts one sample, with the labels that it would get on its way.
func (c *check) writeSample(ctx context.Context, client *http.Client, endpoint *remotewrite.Endpoint) bool {
	own := labels.FromStrings(model.MetricNameLabel, sampleMetric, model.JobLabel, "opstrace-agent")
	ls, keep := selection.ExternalAndRelabelled(labels.NewBuilder(own), own, c.options.External, c.rw.WriteRelabelConfigs)
	if !keep {
		c.note(StepSample, "write_relabel_configs drop "+sampleMetric, "nothing was written: keep this metric to have it checked")
		return true
	}
	begun := time.Now()
	a, err := post(ctx, client, endpoint, []remotewrite.Item{{
		Kind: remotewrite.FloatSample, Series: &remotewrite.Series{Labels: ls}, T: begun.UnixMilli(), V: 1,
	}})
	if outer := (*url.Error)(nil); errors.As(err, &outer) {
		err = outer.Err // it would repeat the URL
	}
	if err != nil {
		return c.fail(StepSample, redact.Line(err.Error(), 300), "the empty write before was answered: try again")
	}
	text := a.String()
	switch hint := behindAuth(a); {
	case a.status/100 == 2 && (!c.v2 || a.wrote) && !a.inReceiversPlace():
		c.ok(StepSample, fmt.Sprintf("one sample of %s is accepted: %s", ls, text), time.Since(begun))
		return true
	case hint != "":
		return c.fail(StepSample, text, hint)
	case a.status == http.StatusBadRequest && !a.inReceiversPlace():
		return c.fail(StepSample, text, "the endpoint refuses "+redact.Line(ls.String(), 200)+": check external_labels and write_relabel_configs, and whether another host writes with the same labels")
	default:
		return c.fail(StepSample, text, c.statusHint(a))
	}
}
