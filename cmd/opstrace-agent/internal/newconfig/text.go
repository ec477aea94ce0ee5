package newconfig

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// text is a YAML document in block style, as lines and as nodes. Parts are cut
// out of both; that the two still agree proves that nothing else was touched.
type text struct {
	lines []string // with their line breaks
	root  *yaml.Node
	gone  []bool // by line
	// moved is what was written over scalars, by line: nodes have the columns of
	// before.
	moved map[int][]shift
}

// shift is by how many characters the rest of a line has moved, from a column on.
type shift struct{ from, by int }

// column is where a node begins now.
func (t *text) column(n *yaml.Node) int {
	at := n.Column
	for _, m := range t.moved[n.Line] {
		if n.Column > m.from {
			at += m.by
		}
	}
	return at
}

// parse returns nil for a document without content.
func parse(content []byte) (*text, error) {
	doc := &yaml.Node{}
	if err := yaml.Unmarshal(content, doc); err != nil {
		return nil, err
	}
	t := &text{lines: strings.SplitAfter(string(content), "\n"), moved: map[int][]shift{}}
	if last := len(t.lines) - 1; t.lines[last] == "" {
		t.lines = t.lines[:last]
	} else {
		t.lines[last] += "\n"
	}
	t.gone = make([]bool, len(t.lines))
	if doc.Kind == 0 || doc.Content[0].Tag == "!!null" {
		return t, nil
	}
	if doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("it is not a mapping")
	}
	t.root = doc.Content[0]
	return t, nil
}

// reformat writes a document anew in block style, for one that cannot be cut by
// lines, such as JSON. It keeps comments and order, but not blank lines. With
// resolve, aliases become what they stand for: their anchors may be left out.
func reformat(content []byte, resolve bool) (anew []byte, lines map[int]int, err error) {
	doc := &yaml.Node{}
	if err := yaml.Unmarshal(content, doc); err != nil {
		return nil, nil, err
	}
	if resolve {
		if doc, err = whole(doc); err != nil {
			return nil, nil, err
		}
	}
	return writeAnew(doc)
}

// writeAnew writes a document in block style. It returns, by the lines of what it
// wrote, those that the nodes had.
func writeAnew(doc *yaml.Node) (anew []byte, lines map[int]int, err error) {
	walk(doc, func(n *yaml.Node) {
		if n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode {
			n.Style &^= yaml.FlowStyle
		}
	})
	if root := doc.Content[0]; root.Kind == yaml.MappingNode && len(root.Content) == 0 {
		return nil, nil, nil // it has no block style
	}
	if anew, err = encode(doc); err != nil {
		return nil, nil, err
	}
	written := &yaml.Node{}
	if err := yaml.Unmarshal(anew, written); err != nil {
		return nil, nil, err
	}
	lines = map[int]int{}
	pairLines(written, doc, lines, map[int]bool{})
	return anew, lines, nil
}

// pairLines goes through two documents of the same shape. The first scalar of a line
// tells where the line was: the list or mapping that it begins may have begun above it.
func pairLines(now, before *yaml.Node, lines map[int]int, final map[int]bool) {
	if before.Line > 0 && !final[now.Line] {
		lines[now.Line] = before.Line
		final[now.Line] = now.Kind == yaml.ScalarNode
	}
	for i := range min(len(now.Content), len(before.Content)) {
		pairLines(now.Content[i], before.Content[i], lines, final)
	}
}

// whole returns a copy of a document without anchors and aliases.
func whole(doc *yaml.Node) (*yaml.Node, error) {
	left := maxResolved
	if doc = resolved(doc, &left); left <= 0 {
		return nil, errors.New("its anchors stand for too much")
	}
	return doc, nil
}

// maxResolved bounds the nodes that anchors may stand for: a few lines of them can
// fill any memory.
const maxResolved = 100_000

// resolved returns a copy of n without anchors and aliases, of at most left nodes.
func resolved(n *yaml.Node, left *int) *yaml.Node {
	if *left--; *left <= 0 {
		return n
	}
	if n.Kind == yaml.AliasNode {
		return resolved(n.Alias, left)
	}
	whole := *n
	whole.Anchor, whole.Content = "", nil
	for _, c := range n.Content {
		whole.Content = append(whole.Content, resolved(c, left))
	}
	return &whole
}

func encode(n *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	err := e.Encode(n)
	return b.Bytes(), err
}

func walk(n *yaml.Node, visit func(*yaml.Node)) {
	visit(n)
	for _, c := range n.Content {
		walk(c, visit)
	}
}

// value returns the value of a key, nil if there is none.
func value(mapping *yaml.Node, key string) *yaml.Node {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// All lines and columns below are counted from 1, as in yaml.Node; an end is
// the line behind the last one.

// head is the first line of what begins in a line: of the comment right above
// it, at the same indentation.
func (t *text) head(line, column int) int {
	for line > 1 {
		above := t.lines[line-2]
		if len(above)-len(strings.TrimLeft(above, " ")) != column-1 || !strings.HasPrefix(above[column-1:], "#") {
			break
		}
		line--
	}
	return line
}

// dash is the line of an item's dash, which may stand above the item.
func (t *text) dash(sequence, item *yaml.Node) int {
	line := item.Line
	for line > sequence.Line && !t.hasDash(line, sequence.Column) {
		line--
	}
	return line
}

func (t *text) hasDash(line, column int) bool {
	l := t.lines[line-1]
	return len(l) >= column && l[column-1] == '-' && strings.TrimSpace(l[:column-1]) == ""
}

// cutKeys removes keys from a mapping that ends at a line.
func (t *text) cutKeys(mapping *yaml.Node, end int, unwanted func(key, value *yaml.Node) bool) {
	var kept []*yaml.Node
	for i := 0; i < len(mapping.Content); i += 2 {
		key, val := mapping.Content[i], mapping.Content[i+1]
		if !unwanted(key, val) {
			kept = append(kept, key, val)
			continue
		}
		from, to := t.head(key.Line, key.Column), t.keyEnd(mapping, i, end)
		if len(kept) == 0 && i+2 < len(mapping.Content) && t.shared(key) {
			// The next key takes its place behind the dash.
			t.moveDash(key, mapping.Content[i+2])
			from = key.Line
		}
		t.drop(from, to)
	}
	mapping.Content = kept
}

// keyEnd is where the key i of a mapping that ends at a line ends.
func (t *text) keyEnd(mapping *yaml.Node, i, end int) int {
	if i+2 < len(mapping.Content) {
		next := mapping.Content[i+2]
		return t.head(next.Line, next.Column)
	}
	return end
}

// shared reports whether a key stands behind a dash.
func (t *text) shared(key *yaml.Node) bool {
	return strings.TrimSpace(t.lines[key.Line-1][:key.Column-1]) == "-"
}

func (t *text) moveDash(from, to *yaml.Node) {
	l := t.lines[to.Line-1]
	t.lines[to.Line-1] = t.lines[from.Line-1][:from.Column-1] + l[to.Column-1:]
}

// cutItems removes items from a sequence that ends at a line.
func (t *text) cutItems(sequence *yaml.Node, end int, unwanted func(item *yaml.Node, end int) bool) {
	var kept []*yaml.Node
	for i, item := range sequence.Content {
		to := end
		if i+1 < len(sequence.Content) {
			to = t.head(t.dash(sequence, sequence.Content[i+1]), sequence.Column)
		}
		if !unwanted(item, to) {
			kept = append(kept, item)
			continue
		}
		t.drop(t.head(t.dash(sequence, item), sequence.Column), to)
	}
	sequence.Content = kept
}

// drop leaves the blank lines at the end, which set the next part off.
func (t *text) drop(from, to int) {
	for to > from && strings.TrimSpace(t.lines[to-2]) == "" {
		to--
	}
	for line := from; line < to; line++ {
		t.gone[line-1] = true
	}
}

// rest is what is left, without the blank lines that a cut leaves double.
func (t *text) rest() []byte {
	var b bytes.Buffer
	blank, cut := true, false
	for i, line := range t.lines {
		if t.gone[i] {
			cut = true
			continue
		}
		isBlank := strings.TrimSpace(line) == ""
		if !(isBlank && blank && cut) {
			b.WriteString(line)
		}
		blank, cut = isBlank, cut && isBlank
	}
	if cut {
		return append(bytes.TrimRight(b.Bytes(), "\n"), '\n')
	}
	return b.Bytes()
}

// checked returns the rest, or an error if lines and nodes disagree.
func (t *text) checked() ([]byte, error) {
	rest := t.rest()
	var got, want any
	if err := yaml.Unmarshal(rest, &got); err != nil {
		return nil, fmt.Errorf("cannot be taken apart by lines: %w", err)
	}
	if t.root != nil {
		if err := t.root.Decode(&want); err != nil {
			return nil, err
		}
	}
	if !reflect.DeepEqual(normal(got), normal(want)) {
		return nil, errors.New("cannot be taken apart by lines")
	}
	return rest, nil
}

// normal makes the ways to say that a section has no content the same: without
// its items a list has no lines, and so no value.
func normal(v any) any {
	sections, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for k, section := range sections {
		if list, ok := section.([]any); ok && len(list) == 0 {
			sections[k] = nil
		}
	}
	if len(sections) == 0 {
		return nil
	}
	return sections
}

// insert puts lines before a line.
func (t *text) insert(line int, lines ...string) {
	t.lines = slices.Insert(t.lines, line-1, lines...)
	t.gone = make([]bool, len(t.lines))
}

// sectionEnd is the line behind the last one of a section, the blank lines and
// what belongs to the next section left out.
func (t *text) sectionEnd(name string) int {
	end := len(t.lines) + 1
	for i := 0; i < len(t.root.Content); i += 2 {
		if t.root.Content[i].Value == name {
			end = t.keyEnd(t.root, i, end)
		}
	}
	for end > 1 && strings.TrimSpace(t.lines[end-2]) == "" {
		end--
	}
	return end
}

// replace writes another value over a scalar on one line.
func (t *text) replace(n *yaml.Node, with string) bool {
	line, column := []rune(t.lines[n.Line-1]), t.column(n)
	old := n.Value
	switch {
	case n.Style&yaml.SingleQuotedStyle != 0:
		old = "'" + old + "'"
	case n.Style&yaml.DoubleQuotedStyle != 0:
		old = `"` + old + `"`
	}
	tail, ok := strings.CutPrefix(string(line[column-1:]), old)
	if !ok {
		return false
	}
	written, err := scalar(with)
	if err != nil || strings.Contains(written, "\n") {
		return false
	}
	if strings.ContainsAny(written, "[]{},") && !strings.ContainsAny(written[:1], `'"`) {
		written = "'" + strings.ReplaceAll(with, "'", "''") + "'" // it may stand in a list like [a, b]
	}
	t.lines[n.Line-1] = string(line[:column-1]) + written + tail
	t.moved[n.Line] = append(t.moved[n.Line], shift{n.Column, len([]rune(written)) - len([]rune(old))})
	return true
}

// scalar writes a string as YAML, quoted where it must be.
func scalar(s string) (string, error) {
	text, err := yaml.Marshal(s)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(text), "\n"), nil
}
