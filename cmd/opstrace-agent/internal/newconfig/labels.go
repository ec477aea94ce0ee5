package newconfig

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Label is an external label: it is put on everything that leaves the host.
type Label struct {
	Name, Value string
	// Weak: a label of this name that the source has wins.
	Weak bool
}

// labelLines are external_labels with their labels at an indentation, commented
// out where there is none.
func (o Options) labelLines(indent string) ([]string, error) {
	if len(o.Labels) == 0 {
		return []string{indent + "#external_labels:\n", indent + "#  host: edge-17\n"}, nil
	}
	lines := []string{indent + "external_labels:\n"}
	for _, l := range o.Labels {
		line, err := l.line(indent + "  ")
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func (l Label) line(indent string) (string, error) {
	written, err := l.written()
	return indent + written + "\n", err
}

// written is the label as it stands in a mapping. A name such as "on" needs
// quotes as much as a value does.
func (l Label) written() (string, error) {
	name, err := scalar(l.Name)
	if err != nil {
		return "", err
	}
	value, err := scalar(l.Value)
	if err == nil && strings.ContainsAny(value, "[]{},") && !strings.ContainsAny(value[:1], `'"`) {
		value = "'" + strings.ReplaceAll(l.Value, "'", "''") + "'" // it may stand in braces
	}
	return name + ": " + value, err
}

// addLabels puts external labels where they belong, beside those that are there.
func (c *conversion) addLabels(t *text, labels []Label) error {
	has := value(value(t.root, "global"), "external_labels")
	var missing []string
	for _, l := range labels {
		n := value(has, l.Name)
		switch {
		case n == nil:
			written, err := l.written()
			if err != nil {
				return err
			}
			missing = append(missing, written)
			c.result.Notes = append(c.result.Notes, fmt.Sprintf("external label %s=%q is new: series that were sent before did not have it", l.Name, l.Value))
		case l.Weak || n.Value == l.Value:
		case n.Kind != yaml.ScalarNode || !t.replace(n, l.Value):
			c.noteNoPlace(l.Name)
		}
	}
	if len(missing) > 0 && !t.putLabels(has, missing) {
		c.noteNoPlace(strings.Join(missing, ", "))
	}
	return nil
}

func (c *conversion) noteNoPlace(labels string) {
	c.result.Notes = append(c.result.Notes, "global.external_labels is not written in a way to add to it: set "+labels+" there")
}

// putLabels reports whether it found the place for labels beside those that has
// holds; nil where there are none.
func (t *text) putLabels(has *yaml.Node, labels []string) bool {
	global := value(t.root, "global")
	switch {
	case has != nil && has.Tag != "!!null":
		return t.putFirst(has, labels)
	case has != nil:
		key := keyOf(global, "external_labels")
		return global.Style&yaml.FlowStyle == 0 && t.putBelow(key, labels)
	case global == nil:
		line := len(t.lines) + 1
		if t.root != nil && len(t.root.Content) > 0 {
			line = t.head(t.root.Content[0].Line, 1)
		}
		t.insert(line, append(append([]string{"global:\n"}, block(labels, "  ")...), "\n")...)
		return true
	case global.Tag == "!!null":
		return t.putBelow(keyOf(t.root, "global"), []string{"external_labels:\n    " + strings.Join(labels, "\n    ")})
	case global.Style&yaml.FlowStyle != 0:
		return t.putFirst(global, []string{"external_labels: {" + strings.Join(labels, ", ") + "}"})
	case global.Kind == yaml.MappingNode && len(global.Content) > 0 && !t.shares(global.Content[0]):
		first := global.Content[0]
		t.insert(t.head(first.Line, first.Column), block(labels, strings.Repeat(" ", first.Column-1))...)
		return true
	}
	return false
}

// block is external_labels as lines at an indentation.
func block(labels []string, indent string) []string {
	lines := []string{indent + "external_labels:\n"}
	for _, l := range labels {
		lines = append(lines, indent+"  "+l+"\n")
	}
	return lines
}

// putFirst puts entries in front of those of a mapping.
func (t *text) putFirst(mapping *yaml.Node, entries []string) bool {
	if mapping.Kind != yaml.MappingNode {
		return false
	}
	if mapping.Style&yaml.FlowStyle == 0 {
		if len(mapping.Content) == 0 || t.shares(mapping.Content[0]) {
			return false
		}
		first := mapping.Content[0]
		indent := strings.Repeat(" ", first.Column-1)
		t.insert(t.head(first.Line, first.Column), indent+strings.Join(entries, "\n"+indent)+"\n")
		return true
	}
	line, column := []rune(t.lines[mapping.Line-1]), t.column(mapping)
	if line[column-1] != '{' {
		return false // an anchor or a tag stands in front of it
	}
	text := strings.Join(entries, ", ")
	if len(mapping.Content) > 0 {
		text += ", "
	}
	t.lines[mapping.Line-1] = string(line[:column]) + text + string(line[column:])
	return true
}

// putBelow gives a key without a value entries for its value.
func (t *text) putBelow(key *yaml.Node, entries []string) bool {
	if rest := strings.TrimSpace(t.lines[key.Line-1][key.Column-1+len(key.Value):]); rest != ":" {
		return false // a comment, a quote, or null in so many words
	}
	indent := strings.Repeat(" ", key.Column+1)
	t.insert(key.Line+1, indent+strings.Join(entries, "\n"+indent)+"\n")
	return true
}

// shares reports whether something else than indentation stands in front of a key.
func (t *text) shares(key *yaml.Node) bool {
	return strings.TrimSpace(string([]rune(t.lines[key.Line-1])[:key.Column-1])) != ""
}

func keyOf(mapping *yaml.Node, name string) *yaml.Node {
	for i := 0; i < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i]
		}
	}
	return nil
}
