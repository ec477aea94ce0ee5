// Package configcheck finds what is valid in a configuration and most likely not
// meant: hosts that could not be told apart, labels that a tenant refuses,
// variables that nothing replaces, lists of targets that cannot be read.
package configcheck

import (
	"os"
	"path/filepath"

	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// Look returns what is worth knowing about f, which was read from path, on a host
// of that name.
func Look(f *scrapeconfig.File, path, host string) ([]Finding, error) {
	l := &look{cfg: f.Config, host: host}
	if err := l.parseAll(path, f); err != nil {
		return nil, err
	}
	if err := l.readJobs(); err != nil {
		return nil, err
	}
	l.variables()
	l.templates()
	l.tenantLabels()
	l.twins(path)
	l.openSecrets()
	return l.found, nil
}

// parseAll parses f, which was read from path, and the files with scrape jobs that it
// names.
func (l *look) parseAll(path string, f *scrapeconfig.File) error {
	l.parse(path, f.Text())
	for _, pattern := range f.ScrapeConfigFiles {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, p := range paths {
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			l.parse(p, content)
		}
	}
	return nil
}

// Missing returns what f, which was read from path, has nothing of.
func Missing(f *scrapeconfig.File, path string) ([]Finding, error) {
	l := &look{cfg: f.Config}
	l.parse(path, f.Text())
	jobs, err := f.GetScrapeConfigs()
	if err != nil {
		return nil, err
	}
	if len(l.docs) == 0 {
		return []Finding{{File: path, Msg: "the file is empty: nothing is scraped, and nothing is sent", Hint: initHint, Fatal: true}}, nil
	}
	if len(f.RemoteWriteConfigs) == 0 {
		l.add(Finding{File: path, Msg: "no destination: what is scraped is sent nowhere", Hint: "add an opstrace: section; " + initHint})
	}
	if len(jobs) == 0 {
		l.add(Finding{File: path, Msg: "no scrape job: nothing is scraped", Hint: "add one to scrape_configs; " + initHint})
	}
	return l.found, nil
}

const initHint = "'opstrace-agent init' writes a configuration"
