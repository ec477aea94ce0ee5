package agent

import (
	"errors"

	"github.com/go-kit/log/level"
	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/agent/hostmetrics"
)

// applyHost lets this host be scraped if a job is about it. That it cannot be is told by its
// target, too: the others are scraped all the same.
func (a *Agent) applyHost(jobs []*config.ScrapeConfig) {
	err := a.host.Use(jobs, a.slogger.With("component", "host"))
	fixed := errors.Is(err, hostmetrics.ErrFixed)
	a.judge.noteRestart(fixed)
	switch {
	case fixed:
		level.Warn(a.opts.Logger).Log("msg", "The collectors of this host change at a restart only", "hint", "restart the agent")
	case err != nil:
		level.Error(a.opts.Logger).Log("msg", "Cannot open the collectors of this host", "err", err)
	}
}

func (a *Agent) closeHost() {
	if err := a.host.Close(); err != nil {
		level.Warn(a.opts.Logger).Log("msg", "Cannot close the collectors of this host", "err", err)
	}
}
