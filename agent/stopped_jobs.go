package agent

import (
	"context"
	"time"

	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/opstrace/opstrace-agent/agent/pulse"
)

// StoppedJob is a scrape job that is left out, because a file that it needs cannot
// be used. A reload with such a job is refused; a start goes on without it, so that
// one certificate does not cost all other targets.
type StoppedJob struct {
	Job string `json:"job"`
	Err string `json:"error"`
}

// jobRetry is how often a stopped job is tried again.
const jobRetry = 5 * time.Second

// stoppedJobs of the configuration in force.
func (r *run) stoppedJobs() []StoppedJob {
	r.agent.mtx.Lock()
	defer r.agent.mtx.Unlock()
	return r.stopped
}

// setStopped notes which jobs are left out from now on, and logs what has changed.
func (r *run) setStopped(jobs []StoppedJob) {
	r.agent.mtx.Lock()
	before := map[string]bool{}
	for _, s := range r.stopped {
		before[s.Job] = true
	}
	r.stopped = jobs
	r.agent.mtx.Unlock()
	for _, s := range jobs {
		if !before[s.Job] {
			level.Error(r.agent.opts.Logger).Log("msg", "A scrape job is left out until the files that it needs can be used", "job", s.Job, "err", s.Err)
		}
		delete(before, s.Job)
	}
	for job := range before {
		level.Info(r.agent.opts.Logger).Log("msg", "A scrape job that was left out is no more", "job", job)
	}
}

// retryJobs takes stopped jobs up when their files are there, until ctx ends.
func (r *run) retryJobs(ctx context.Context) error {
	logged := "" // once in an episode
	for pulse.Wait(ctx, jobRetry) {
		logged = r.tellRetry(r.retryStopped(), logged)
	}
	return nil
}

// tellRetry logs what keeps stopped jobs from being tried, unless that is what was
// logged last, and returns what to give it the next time.
func (r *run) tellRetry(err error, logged string) string {
	if err == nil {
		return ""
	}
	if err.Error() != logged {
		level.Error(r.agent.opts.Logger).Log("msg", "Cannot take up what was left out of the configuration", "err", err)
	}
	return err.Error()
}

// retryStopped takes up jobs and logs that were left out. For jobs, it changes nothing
// but what is discovered: the scrape manager has all of them, and makes a pool when a
// job has targets.
func (r *run) retryStopped() error {
	stopped, missing := r.stoppedJobs(), r.missingLogs()
	r.agent.applyMtx.Lock()
	defer r.agent.applyMtx.Unlock()
	if r.untraced {
		r.tryToTrace(r.agent.Config())
	}
	if len(stopped) == 0 && len(missing) == 0 {
		return nil
	}
	p, err := prepare(r.agent.Config())
	if err != nil {
		return err
	}
	if len(p.missing) < len(missing) {
		// With the same configuration, it opens the logs anew and does nothing else.
		if err := r.scrape.ApplyConfig(p.scraping); err != nil {
			return err
		}
		r.setMissingLogs(p.missing)
	}
	if len(p.stopped) < len(stopped) {
		if err := r.applyTargets(p); err != nil {
			return err
		}
		r.setStopped(p.stopped)
	}
	return nil
}

// stoppedGauge is the metric of stopped jobs.
func (r *run) stoppedGauge() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "opstrace_agent_scrape_jobs_stopped",
		Help: "Scrape jobs that are left out, because a file that they need cannot be used.",
	}, func() float64 { return float64(len(r.stoppedJobs())) })
}
