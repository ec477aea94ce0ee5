// Package scrapeconfig reads the agent's configuration: a Prometheus
// configuration, on top of which an opstrace: block may stand for the
// remote_write entries of Opstrace tenants. What leaves the package is
// upstream's *config.Config; nobody behind it knows that the block existed.
//
// Every refusal is an *Error with the file, the line and a hint.
package scrapeconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/config"
	sloggokit "github.com/tjhop/slog-gokit"

	"github.com/opstrace/opstrace-agent/agent/regular"

	// The discoveries of this build, as its build tags chose them.
	_ "github.com/prometheus/prometheus/plugins"
)

// LoadFile reads the configuration in path. Errors are of type *Error.
func LoadFile(path string, logger log.Logger) (*config.Config, error) {
	content, err := readFile(path, true)
	if err != nil {
		return nil, err
	}
	return Load(content, path, logger)
}

// readFile reads what is named on the command line. A pipe that the process was given
// open (a shell's <(...), or standard input) can be read once: there is nothing in it
// at a reload.
func readFile(path string, pipes bool) ([]byte, error) {
	read := regular.Read
	if pipes && isInherited(path) {
		read = os.ReadFile
	}
	content, err := read(path)
	if err != nil {
		e := &Error{File: path, Msg: "cannot read the configuration: " + err.Error(), Err: err}
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			e.Msg = "cannot read the configuration: " + pe.Err.Error()
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			e.Hint = "name the file with --config.file"
		case errors.Is(err, fs.ErrPermission):
			e.Hint = "let the user that runs the agent read the file"
		case isNotRegular(err):
			e.Hint = "write the configuration into a file: it is read again at every reload"
		}
		return nil, e
	}
	return content, nil
}

// isInherited reports whether a path is that of something that is open already.
func isInherited(path string) bool {
	dir := filepath.Dir(path)
	return path == "/dev/stdin" || dir == "/dev/fd" || dir == "/proc/self/fd"
}

func isNotRegular(err error) bool {
	_, no := errors.AsType[*regular.NotRegular](err)
	return no
}

// Load reads a configuration from content. Messages name path, and relative
// paths in the configuration are resolved against its folder. As upstream
// does in agent mode, it refuses what only a server can serve. The files in
// scrape_config_files are read and validated too. Errors are of type *Error.
func Load(content []byte, path string, logger log.Logger) (*config.Config, error) {
	if logger == nil {
		logger = log.NewNopLogger()
	}
	src, err := parse(content, path)
	if err != nil {
		return nil, err
	}
	// The go-kit logger filters by level, so nothing is filtered before it.
	cfg, err := load(src.rest, slog.New(sloggokit.NewGoKitHandler(logger, slog.LevelDebug)))
	if err != nil {
		return nil, src.explain(err)
	}
	if err := refuseServerSections(cfg, src); err != nil {
		return nil, err
	}
	own := len(cfg.RemoteWriteConfigs)
	if err := src.addBlocks(cfg); err != nil {
		return nil, err
	}
	if err := src.refuseLogins(cfg.RemoteWriteConfigs, own, MissingLogin); err != nil {
		return nil, err
	}
	if err := src.refuseConversion(cfg.RemoteWriteConfigs, own); err != nil {
		return nil, err
	}
	if err := src.refuseScheme(cfg.RemoteWriteConfigs, own); err != nil {
		return nil, err
	}
	// Names are made from the paths as written: moving the folder that holds
	// the configuration must not make new destinations of the old ones.
	if err := nameDestinations(cfg.RemoteWriteConfigs, logger); err != nil {
		return nil, src.explainNames(err, own)
	}
	cfg.SetDirectory(filepath.Dir(path))
	if err := refuseIncludedPipes(cfg.ScrapeConfigFiles); err != nil {
		return nil, err
	}
	jobs, err := cfg.GetScrapeConfigs()
	if err != nil {
		return nil, src.explainIncluded(err, cfg)
	}
	if err := src.refuseOtherCollectors(jobs); err != nil {
		return nil, err
	}
	return cfg, nil
}

// addBlocks adds to cfg what the blocks stand for.
func (s *source) addBlocks(cfg *config.Config) error {
	names := cfg.GlobalConfig.MetricNameValidationScheme
	if b := s.blocks[blockKey]; b != nil {
		entries, err := expandOpstrace(b.text, names)
		if err != nil {
			return s.explainBlock(b, err, func(text []byte) error {
				_, err := expandOpstrace(text, names)
				return err
			})
		}
		cfg.RemoteWriteConfigs = append(cfg.RemoteWriteConfigs, entries...)
	}
	if b := s.blocks[hostKey]; b != nil {
		job, err := expandHost(b.text, cfg)
		if err != nil {
			return s.explainBlock(b, err, func(text []byte) error {
				_, err := expandHost(text, cfg)
				return err
			})
		}
		cfg.ScrapeConfigs = append(cfg.ScrapeConfigs, job)
	}
	return nil
}

// load calls upstream, which panics at some empty sections: at a reload, that
// must not end the agent.
func load(content []byte, logger *slog.Logger) (cfg *config.Config, err error) {
	defer func() {
		if r := recover(); r != nil {
			cfg, err = nil, fmt.Errorf("invalid section: Prometheus cannot read it: %v", r)
		}
	}()
	return config.Load(string(content), logger)
}

// refuseServerSections is what config.LoadFile refuses in agent mode, in its
// order and its words.
func refuseServerSections(cfg *config.Config, src *source) error {
	field := ""
	switch {
	case len(cfg.AlertingConfig.AlertmanagerConfigs) > 0, len(cfg.AlertingConfig.AlertRelabelConfigs) > 0:
		field = "alerting"
	case len(cfg.RuleFiles) > 0:
		field = "rule_files"
	case len(cfg.RemoteReadConfigs) > 0:
		field = "remote_read"
	default:
		return nil
	}
	return &Error{
		File: src.path,
		Line: src.line(field),
		Msg:  "field " + field + " is not allowed in agent mode",
		Hint: "an agent only scrapes and sends; `opstrace-agent init --from " + src.path + "` writes a copy without the sections of a server",
	}
}
