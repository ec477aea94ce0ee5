package scrapeconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"

	"github.com/opstrace/opstrace-agent/agent/regular"
)

// FileRef is a file that a configuration refers to.
type FileRef struct {
	Field string // such as remote_write[opstrace-default].authorization.credentials_file
	Path  string // a pattern of filepath.Glob if Glob is set
	Glob  bool
}

// Check returns an error if the file cannot be read, or no file matches the
// pattern. For targets of file_sd that may be right: they can come later.
func (r FileRef) Check() error {
	paths := []string{r.Path}
	if r.Glob {
		var err error
		if paths, err = filepath.Glob(r.Path); err != nil {
			return fmt.Errorf("%s: cannot match %s: %w", r.Field, r.Path, err)
		}
		if len(paths) == 0 {
			return fmt.Errorf("%s: no file matches %s", r.Field, r.Path)
		}
	}
	for _, path := range paths {
		if _, err := regular.Read(path); err != nil {
			return fmt.Errorf("%s: %w", r.Field, err)
		}
	}
	return nil
}

// refuseIncludedPipes refuses scrape_config_files that are no files: upstream would wait
// for somebody to write to them.
func refuseIncludedPipes(patterns []string) error {
	err := regular.CheckMatches(patterns)
	if err == nil {
		return nil
	}
	e := &Error{Msg: "cannot read the scrape configuration: " + err.Error(), Err: err, Hint: "write it into a file: it is read again at every reload"}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		e.File, e.Msg = pe.Path, "cannot read the scrape configuration: "+pe.Err.Error()
	}
	return e
}

// Files returns the files that the agent will read for cfg: scrape_config_files
// and file_sd targets, secrets, certificates and keys, in the order of the
// configuration. cfg comes from Load or LoadFile.
func Files(cfg *config.Config) ([]FileRef, error) {
	var refs []FileRef
	for i, pattern := range cfg.ScrapeConfigFiles {
		refs = append(refs, FileRef{Field: fmt.Sprintf("scrape_config_files[%d]", i), Path: pattern, Glob: true})
	}
	jobs, err := cfg.GetScrapeConfigs()
	if err != nil {
		return nil, err
	}
	for _, job := range jobs {
		refs = appendFiles(refs, reflect.ValueOf(job), fmt.Sprintf("scrape_configs[%s]", job.JobName))
	}
	refs = appendFiles(refs, reflect.ValueOf(cfg.TracingConfig), "tracing")
	for _, rw := range cfg.RemoteWriteConfigs {
		refs = appendFiles(refs, reflect.ValueOf(rw), fmt.Sprintf("remote_write[%s]", rw.Name))
	}
	return refs, nil
}

// appendFiles appends the files named at or below v, which field leads to. It
// goes by the names that the fields have in YAML, as upstream's discoveries
// share no type for files.
func appendFiles(refs []FileRef, v reflect.Value, field string) []FileRef {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return appendFiles(refs, v.Elem(), field)
		}
	case reflect.Slice:
		for i := range v.Len() {
			refs = appendFiles(refs, v.Index(i), fmt.Sprintf("%s[%d]", field, i))
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			refs = appendFiles(refs, v.MapIndex(k), fmt.Sprintf("%s[%s]", field, k))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				refs = appendField(refs, v.Field(i), f, field)
			}
		}
	}
	return refs
}

// appendField appends the files named in field f of a struct that parent leads
// to.
func appendField(refs []FileRef, v reflect.Value, f reflect.StructField, parent string) []FileRef {
	if sds, ok := v.Interface().(discovery.Configs); ok {
		count := map[string]int{}
		for _, sd := range sds {
			if _, static := sd.(discovery.StaticConfig); !static {
				name := sd.Name()
				refs = appendFiles(refs, reflect.ValueOf(sd), fmt.Sprintf("%s.%s_sd_configs[%d]", parent, name, count[name]))
				count[name]++
			}
		}
		return refs
	}
	name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	switch {
	case name == "-":
		return refs
	case options == "inline":
		return appendFiles(refs, v, parent)
	}
	field := parent + "." + name
	if files, ok := v.Interface().([]string); ok && name == "files" {
		glob := !strings.Contains(parent, ".http_headers[") // The others are those of file_sd.
		for _, path := range files {
			refs = append(refs, FileRef{Field: field, Path: path, Glob: glob})
		}
		return refs
	}
	if path, ok := v.Interface().(string); ok && path != "" && namesFile(name) {
		return append(refs, FileRef{Field: field, Path: path})
	}
	return appendFiles(refs, v, field)
}

// namesFile reports whether a field of that name holds the path of a file that
// is read.
func namesFile(name string) bool {
	if strings.HasSuffix(name, "_log_file") || name == "metrics_path" {
		return false
	}
	return strings.HasSuffix(name, "_file") || strings.HasSuffix(name, "_path")
}
