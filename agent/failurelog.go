package agent

import (
	"fmt"
	"os"
	"slices"

	"github.com/go-kit/log/level"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/util/logging"
)

// MissingLog is a scrape_failure_log_file that cannot be opened. A reload with such a
// file is refused; a start goes on without it, because the samples are worth more than
// the log of those that could not be had.
type MissingLog struct {
	File string `json:"file"`
	Err  string `json:"error"`
}

// missingLogs opens every scrape_failure_log_file once, and leaves no trace of those
// that were not there.
func missingLogs(scrapes []*config.ScrapeConfig) (missing []MissingLog) {
	seen := map[string]bool{"": true}
	for _, s := range scrapes {
		path := s.ScrapeFailureLogFile
		if seen[path] {
			continue
		}
		seen[path] = true
		if err := tryFailureLog(path); err != nil {
			missing = append(missing, MissingLog{path, err.Error()})
		}
	}
	return missing
}

func tryFailureLog(path string) error {
	before, err := os.Stat(path)
	if err == nil && before.Mode()&os.ModeNamedPipe != 0 {
		// To open it would wait until somebody reads it.
		return fmt.Errorf("%s is a named pipe", path)
	}
	l, opening := logging.NewJSONFileLogger(path)
	if opening != nil {
		return opening
	}
	closing := l.Close()
	if os.IsNotExist(err) {
		_ = os.Remove(path)
	}
	return closing
}

// openFailureLog is what upstream's scrape manager opens a scrape_failure_log_file
// with. One that cannot be opened must not keep it from scraping: missingLogs has told.
func openFailureLog(path string) (*logging.JSONFileLogger, error) {
	if tryFailureLog(path) != nil {
		path = os.DevNull
	}
	return logging.NewJSONFileLogger(path)
}

// missing logs of the configuration in force.
func (r *run) missingLogs() []MissingLog {
	r.agent.mtx.Lock()
	defer r.agent.mtx.Unlock()
	return r.missing
}

// setMissingLogs notes which logs are missing from now on, and logs what has changed.
func (r *run) setMissingLogs(missing []MissingLog) {
	r.agent.mtx.Lock()
	before := r.missing
	r.missing = missing
	r.agent.mtx.Unlock()
	in := func(all []MissingLog, file string) bool {
		return slices.ContainsFunc(all, func(m MissingLog) bool { return m.File == file })
	}
	for _, m := range missing {
		if !in(before, m.File) {
			level.Error(r.agent.opts.Logger).Log("msg", "Scrapes that fail are not logged to their file until it can be opened", "file", m.File, "err", m.Err)
		}
	}
	for _, m := range before {
		if !in(missing, m.File) {
			level.Info(r.agent.opts.Logger).Log("msg", "A log of failed scrapes is missing no more", "file", m.File)
		}
	}
}
