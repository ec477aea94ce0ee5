package configcheck

import (
	"path/filepath"
	"strings"

	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// Written returns refs, which are f's, with file, line and key where each stands in
// the text as their fields: a section like opstrace is expanded, and has another key by
// then. What is not found keeps its field. path is where f was read from.
func Written(f *scrapeconfig.File, path string, refs []scrapeconfig.FileRef) ([]scrapeconfig.FileRef, error) {
	l := &look{cfg: f.Config}
	if err := l.parseAll(path, f); err != nil {
		return nil, err
	}
	named := map[string]string{} // by what a file is called with the folder of the configuration
	l.scalars(func(p place) {
		key := p.keys[len(p.keys)-1]
		if key != "files" && key != "scrape_config_files" && !strings.HasSuffix(key, "_file") && !strings.HasSuffix(key, "_path") {
			return
		}
		file := p.node.Value
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(p.path), file)
		}
		if named[file] == "" {
			named[file] = Finding{File: p.path, Line: p.node.Line, Msg: key}.String()
		}
	})
	written := make([]scrapeconfig.FileRef, len(refs))
	for i, ref := range refs {
		written[i] = ref
		if at := named[filepath.Clean(ref.Path)]; at != "" {
			written[i].Field = at
		}
	}
	return written, nil
}
