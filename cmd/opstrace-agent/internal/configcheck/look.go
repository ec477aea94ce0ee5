package configcheck

import (
	"slices"

	"github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v3"

	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// Finding is one thing that is worth knowing.
type Finding struct {
	File string
	Line int // counted from 1; 0 if it has no place in the file
	Msg  string
	Hint string
	// Fatal: samples would be refused, or targets not be found.
	Fatal bool
}

func (f Finding) String() string {
	return (&scrapeconfig.Error{File: f.File, Line: f.Line, Msg: f.Msg}).Error()
}

// document is one of the files of a configuration.
type document struct {
	path string
	root *yaml.Node
}

// look is one configuration being looked at.
type look struct {
	cfg  *config.Config
	docs []document
	jobs []job
	host string // this host's name; may be empty

	found []Finding
}

func (l *look) parse(path string, content []byte) {
	doc := &yaml.Node{}
	if err := yaml.Unmarshal(content, doc); err == nil && len(doc.Content) > 0 && doc.Content[0].Tag != "!!null" {
		l.docs = append(l.docs, document{path, doc.Content[0]})
	}
}

// add leaves out what was said already.
func (l *look) add(f Finding) {
	if !slices.ContainsFunc(l.found, func(g Finding) bool { return g.String() == f.String() }) {
		l.found = append(l.found, f)
	}
}

// place is where something stands, with the keys that lead there.
type place struct {
	path string
	node *yaml.Node
	keys []string
}

func (p place) under(key string) bool { return slices.Contains(p.keys, key) }

// scalars calls visit for every value that stands under a key.
func (l *look) scalars(visit func(place)) {
	for _, d := range l.docs {
		var walk func(n *yaml.Node, keys []string)
		walk = func(n *yaml.Node, keys []string) {
			switch n.Kind {
			case yaml.MappingNode:
				for i := 0; i+1 < len(n.Content); i += 2 {
					walk(n.Content[i+1], append(slices.Clip(keys), n.Content[i].Value))
				}
			case yaml.ScalarNode:
				if len(keys) > 0 {
					visit(place{d.path, n, keys})
				}
			default:
				for _, c := range n.Content {
					walk(c, keys)
				}
			}
		}
		walk(d.root, nil)
	}
}

// lineOf returns file and line of the label with that name: a key among labels, or
// the value of target_label. Without one it is the file alone.
func (l *look) lineOf(name string) (path string, line int) {
	l.scalars(func(p place) {
		last := p.keys[len(p.keys)-1]
		here := last == name && (p.under("external_labels") || p.under("labels")) || last == "target_label" && p.node.Value == name
		if here && line == 0 {
			path, line = p.path, p.node.Line
		}
	})
	if line == 0 {
		path = l.docs[0].path
	}
	return path, line
}
