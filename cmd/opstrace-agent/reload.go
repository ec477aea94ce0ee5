package main

import (
	"context"
	"errors"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/go-kit/log/level"
	"github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v3"

	"github.com/opstrace/opstrace-agent/agent/pulse"
	"github.com/opstrace/opstrace-agent/agent/redact"
	"github.com/opstrace/opstrace-agent/agent/regular"
)

// readyPoll is how often to look whether the agent is ready.
const readyPoll = 100 * time.Millisecond

// fileLook is how often to look whether the configuration file is the one in force.
const fileLook = 10 * time.Second

// sourceFile is the source of a reload that nobody asked for: the file has changed.
const sourceFile = "changed file"

// reloadRequest is one wish for a reload; the outcome goes to answer, which has
// room for it.
type reloadRequest struct{ answer chan error }

// requestReload is how the admin face asks. It waits for the outcome, or until
// the one who asked has gone.
func (p *process) requestReload(ctx context.Context) error {
	req := reloadRequest{make(chan error, 1)}
	select {
	case p.reloads <- req:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-req.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reloadLoop is the one place where a configuration is replaced, so that two
// sources never reload at the same time. It begins when the agent is ready:
// earlier wishes wait, because there is nothing yet to apply a configuration to.
func (p *process) reloadLoop(ctx context.Context) error {
	var tick <-chan time.Time
	if p.flags.autoReload {
		ticker := time.NewTicker(time.Duration(p.flags.autoReloadInterval))
		defer ticker.Stop()
		tick = ticker.C
		level.Info(p.logger).Log("msg", "Reloading when the configuration file changes", "interval", p.flags.autoReloadInterval)
	}
	look := pulse.After(fileLook)
	watched := watch(p.checksum())
	if err := p.awaitReady(ctx); err != nil {
		return err
	}
	var again <-chan time.Time
	for {
		var source string
		var answer chan<- error
		select {
		case <-ctx.Done():
			return nil
		case <-p.hup:
			source = "SIGHUP"
		case req := <-p.reloads:
			source, answer = "HTTP", req.answer
		case <-tick:
			source = sourceFile
		case <-again:
			source = sourceFile
		case <-look:
			look = pulse.After(fileLook)
			p.agent.NoteFile(watched.differs(p.checksum()))
			continue
		}
		again = nil
		// Before the file is read, so that a change in between is seen next time.
		checksum := p.checksum()
		if source == sourceFile {
			switch watched.look(checksum) {
			case unchanged:
				continue
			case unstable:
				again = time.After(stableFor)
				continue
			}
		}
		err := p.reload(source)
		watched.loaded(checksum, err)
		if answer != nil {
			answer <- err
		}
	}
}

func (p *process) awaitReady(ctx context.Context) error {
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for !p.agent.Ready() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

// checksum covers the configuration file and the scrape_config_files it names. A file that cannot be read gives "", which differs
// from what is in force.
func (p *process) checksum() string {
	sum, err := checksumOf(p.flags.configFile)
	if err != nil {
		// Loading it will say so aloud, if it stays like this.
		level.Debug(p.logger).Log("msg", "Cannot look for a changed configuration", "err", err)
	}
	return sum
}

// checksumOf is upstream's GenerateChecksum, which waits where one of the files is a
// pipe.
func checksumOf(file string) (string, error) {
	content, err := regular.Read(file)
	if err != nil {
		return "", err
	}
	var named config.ExternalFilesConfig
	if err := yaml.Unmarshal(content, &named); err != nil {
		return "", err
	}
	patterns := slices.Concat(named.RuleFiles, named.ScrapeConfigFiles)
	for i, pattern := range patterns {
		if !filepath.IsAbs(pattern) {
			patterns[i] = filepath.Join(filepath.Dir(file), pattern)
		}
	}
	if err := regular.CheckMatches(patterns); err != nil {
		return "", err
	}
	return config.GenerateChecksum(file)
}

// reload reads the file and applies it as a whole. After an error the old
// configuration keeps running as it was.
func (p *process) reload(source string) error {
	start := time.Now()
	p.systemd.notifyReloading()
	defer p.systemd.notifyReady()

	err := p.replaceConfig()
	p.metrics.reloaded(err)
	if err != nil {
		p.agent.NoteReload(redact.Text(err.Error()), hintOf(err))
		keyvals := []any{"msg", "Cannot reload the configuration; the old one keeps running", "source", source, "err", err}
		if hint := hintOf(err); hint != "" {
			keyvals = append(keyvals, "hint", hint)
		}
		if source == sourceFile && err.Error() == p.refusal {
			return withHint(err) // tried again, and logged before
		}
		p.refusal = err.Error()
		level.Error(p.logger).Log(keyvals...)
		return withHint(err)
	}
	p.refusal = ""
	p.agent.NoteReload("", "")
	level.Info(p.logger).Log("msg", "Configuration reloaded", "source", source, "duration", time.Since(start))
	return nil
}

func (p *process) replaceConfig() error {
	next, err := p.inForce.ReadReplacement(wholePath(p.flags.configFile), p.logger)
	if err != nil {
		return err
	}
	if err := p.agent.Apply(next.Config); err != nil {
		return err
	}
	p.inForce = next
	p.applyRuntime(next.Config)
	return nil
}

// withHint puts the hint into the text, for those who get nothing but a text,
// and takes out what is secret in URLs.
func withHint(err error) error {
	text := redact.Text(err.Error())
	if hint := hintOf(err); hint != "" {
		text += "\nhint: " + hint
	}
	return errors.New(text)
}

// applyRuntime applies the configuration's runtime section.
func (p *process) applyRuntime(cfg *config.Config) {
	p.logger.setLevel(string(cfg.Runtime.LogLevel))
	if old := debug.SetGCPercent(cfg.Runtime.GoGC); old != cfg.Runtime.GoGC {
		level.Debug(p.logger).Log("msg", "GOGC changed", "old", old, "new", cfg.Runtime.GoGC)
	}
}
