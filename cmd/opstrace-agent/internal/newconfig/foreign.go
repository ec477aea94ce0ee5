package newconfig

import (
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// origin is the program that a configuration is of.
type origin struct {
	name  string
	check string // how one learns whether that program takes it
}

var (
	ofPrometheus = origin{"Prometheus", "check that Prometheus takes the file, with promtool check config"}
	ofGrafana    = origin{"Grafana Agent", "check that Grafana Agent takes the file"}
	ofVmagent    = origin{"vmagent", "check that vmagent takes the file, with vmagent -dryRun -promscrape.config=FILE"}
)

// translate makes a configuration of Prometheus of one of Grafana Agent or vmagent.
// It returns nil for the document if there is nothing to translate. What does not
// parse is of Prometheus: the error is another's to tell.
func translate(s Source, r *Result) (origin, *yaml.Node) {
	doc := &yaml.Node{}
	if yaml.Unmarshal(s.Content, doc) != nil || doc.Kind == 0 {
		return ofPrometheus, nil
	}
	doc, err := whole(doc)
	if err != nil { // anchors that may not be in the way
		return ofPrometheus, nil
	}
	merged(doc)
	root := doc.Content[0]
	if isGrafana(root) {
		doc.Content[0] = fromGrafana(root, r)
		return ofGrafana, doc
	}
	changed := fromVmagent(root, r)
	if changed || named(s.Path, "vmagent") {
		r.Notes = append(r.Notes, "vmagent has its destinations in flags, -remoteWrite.url and others, which are not in the file: the agent sends to the opstrace section only; add what else is wanted as remote_write")
	}
	switch {
	case changed:
		return ofVmagent, doc
	case named(s.Path, "vmagent"):
		return ofVmagent, nil
	}
	return ofPrometheus, nil
}

// named reports whether a file or its folder has a word in its name.
func named(path, word string) bool {
	return slices.ContainsFunc([]string{filepath.Base(path), filepath.Base(filepath.Dir(path))}, func(name string) bool {
		return strings.Contains(name, word)
	})
}
