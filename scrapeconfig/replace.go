package scrapeconfig

import (
	"bytes"
	"fmt"

	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v3"

	"github.com/opstrace/opstrace-agent/agent/number"
)

// File is a configuration with the text that it was read from.
type File struct {
	*config.Config
	content []byte
}

// Text is what the file holds.
func (f *File) Text() []byte { return f.content }

// ReadFile reads the configuration in path. Errors are of type *Error.
func ReadFile(path string, logger log.Logger) (*File, error) {
	return readConfig(path, true, logger)
}

func readConfig(path string, pipes bool, logger log.Logger) (*File, error) {
	content, err := readFile(path, pipes)
	if err != nil {
		return nil, err
	}
	cfg, err := Load(content, path, logger)
	if err != nil {
		return nil, err
	}
	return &File{cfg, content}, nil
}

// ReadReplacement is ReadFile for a file that is to take the place of f. It
// refuses what looks like a part of a file only: an empty one, one that ends in
// the middle of f's, and any other that takes away every destination or every
// scrape job, unless it says so with an empty list. Errors are of type *Error.
func (f *File) ReadReplacement(path string, logger log.Logger) (*File, error) {
	next, err := readConfig(path, false, logger)
	if err != nil {
		return nil, err
	}
	if err := refuseEmptied(path, "destination", len(f.RemoteWriteConfigs), len(next.RemoteWriteConfigs), next.content, "remote_write", blockKey); err != nil {
		return nil, err
	}
	if err := refuseEmptied(path, "scrape job", f.jobs(), next.jobs(), next.content, "scrape_configs"); err != nil {
		return nil, err
	}
	if isCut(f.content, next.content) {
		return nil, &Error{
			File: path, Line: bytes.Count(next.content, []byte("\n")) + 1,
			Msg:  "the file looks cut: it is the beginning of the one in force, and ends in the middle of it",
			Hint: "write it anew; if it is meant so, end it with a line of its own, such as a comment",
		}
	}
	return next, nil
}

// page is what writers and file systems put on a disk at a time, or a part of it.
const page = 4096

// isCut reports whether next is what a write that was interrupted leaves of old.
// One that ends with a line of old may be meant, unless it ends with a page as well.
func isCut(old, next []byte) bool {
	if len(next) >= len(old) || !bytes.HasPrefix(old, next) {
		return false
	}
	if len(next)%page == 0 {
		return true
	}
	// A file without a line break at its end may have been shortened in its last line.
	return breakLen(old) > 0 && breakLen(next) == 0 && breakLen(old[:len(next)+1]) == 0
}

// jobs is the number of scrape jobs, those of scrape_config_files included.
func (f *File) jobs() int {
	jobs, err := f.GetScrapeConfigs()
	if err != nil {
		return 0 // Load has refused it
	}
	return len(jobs)
}

// refuseEmptied refuses a file that has none of what there was before, unless one
// of its keys has an empty list for a value. A key without a value is what a file
// looks like that has been cut.
func refuseEmptied(path, what string, before, after int, content []byte, keys ...string) error {
	if before == 0 || after > 0 {
		return nil
	}
	root := rootOf(content)
	for _, key := range keys {
		if root == nil {
			break
		}
		for _, i := range find(root, key) {
			if v := root.Content[i+1]; v.Kind == yaml.SequenceNode && len(v.Content) == 0 {
				return nil
			}
		}
	}
	is := "is empty"
	if root != nil {
		is = "has no " + what
	}
	return &Error{
		File: path,
		Msg:  fmt.Sprintf("the file looks cut: it %s, and the one in force has %s", is, number.Count(before, what)),
		Hint: fmt.Sprintf("to go on without any %s, write `%s: []`", what, keys[0]),
	}
}
