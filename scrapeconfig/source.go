package scrapeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const blockKey = "opstrace"

// source is a configuration as text, taken apart into the opstrace: block and
// the rest. Both keep every line where it was.
type source struct {
	path  string
	rest  []byte // what upstream gets: the block's lines are empty comments
	block *block // nil if there is none
}

// block is the opstrace: block.
type block struct {
	key, value *yaml.Node
	text       []byte // all lines but the block's are empty comments
}

// parse finds the block and separates it from the rest.
func parse(content []byte, path string) (*source, error) {
	src := &source{path: path, rest: content}
	// A file without the word is upstream's alone: it is neither parsed a
	// second time nor touched.
	if !bytes.Contains(content, []byte(blockKey)) {
		return src, nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(content))
	doc := &yaml.Node{}
	if err := dec.Decode(doc); err != nil {
		// Upstream's parser says what is wrong, in its own words.
		return src, nil
	}
	if err := src.cut(doc.Content[0], content); err != nil {
		return nil, err
	}
	lines := splitLines(content)
	return src, src.refuseLaterDocuments(dec, lines, blockEnd(lines, doc.Content[0].Line))
}

// refuseLaterDocuments refuses a block behind the first document, which ends
// in a line: upstream reads that one only and ignores the others without a
// word, even what does not parse.
func (s *source) refuseLaterDocuments(dec *yaml.Decoder, lines [][]byte, end int) error {
	fail := func(line int) error {
		return s.fail(line, "the opstrace block is not in the first YAML document of the file",
			"remove the `---`, `...` or `%` line above it: only the first document is read")
	}
	for {
		doc := &yaml.Node{}
		err := dec.Decode(doc)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			for n := end; n < len(lines); n++ {
				key, found := bytes.CutPrefix(bytes.TrimLeft(lines[n], " \"'"), []byte(blockKey))
				if found && bytes.HasPrefix(bytes.TrimLeft(key, " \"'"), []byte(":")) {
					return fail(n + 1)
				}
			}
			return nil
		}
		if keys := find(doc.Content[0], blockKey); len(keys) > 0 {
			return fail(doc.Content[0].Content[keys[0]].Line)
		}
	}
}

// cut blanks the block's lines out of the rest, and the rest's out of the
// block's text. Blank means an empty comment: an empty line would belong to a
// block scalar above it that keeps its line breaks.
func (s *source) cut(root *yaml.Node, content []byte) error {
	found := find(root, blockKey)
	if len(found) == 0 {
		return nil
	}
	i := found[0]
	key, value := root.Content[i], root.Content[i+1]
	if len(found) > 1 {
		return s.fail(root.Content[found[1]].Line, fmt.Sprintf("opstrace is set a second time (first in line %d)", key.Line),
			"for several tenants, make opstrace: a list")
	}
	if err := s.refuseCrossingAliases(root, key, value); err != nil {
		return err
	}
	const style = "write `opstrace:` at the start of a line of its own, in block style, and the other sections too"
	lines := splitLines(content)
	if root.Style&yaml.FlowStyle != 0 || !startsLine(lines[key.Line-1], key.Column) {
		return s.fail(key.Line, "the opstrace block does not start a line", style)
	}
	end := blockEnd(lines, key.Line)
	if i+2 < len(root.Content) {
		end = root.Content[i+2].Line - 1
	}
	var rest, text bytes.Buffer
	for n, line := range lines {
		in, out := &text, &rest
		if n+1 < key.Line || n+1 > end {
			in, out = &rest, &text
		}
		in.Write(line)
		out.WriteByte('#')
		out.Write(line[len(line)-breakLen(line):])
	}
	// Whatever the lines above missed (a `? key` that starts a line before its
	// node does, another document that moves up) must not reach upstream as a
	// changed configuration.
	want := *root
	want.Content = append(append([]*yaml.Node{}, root.Content[:i]...), root.Content[i+2:]...)
	if !parsesTo(rest.Bytes(), &want) {
		return s.fail(key.Line, "the opstrace block cannot be separated from the rest of the file", style)
	}
	s.rest = rest.Bytes()
	s.block = &block{key: key, value: value, text: text.Bytes()}
	return nil
}

// refuseCrossingAliases refuses an alias on one side of the block's border to
// an anchor on the other: each side is decoded without the other.
func (s *source) refuseCrossingAliases(root, key, value *yaml.Node) error {
	inside := map[*yaml.Node]bool{}
	walk(key, func(n *yaml.Node) { inside[n] = true })
	walk(value, func(n *yaml.Node) { inside[n] = true })
	var err error
	walk(root, func(n *yaml.Node) {
		if err != nil || n.Kind != yaml.AliasNode || inside[n] == inside[n.Alias] {
			return
		}
		if inside[n] {
			err = s.fail(n.Line, fmt.Sprintf("the opstrace block uses the anchor &%s, which lies outside of the block", n.Value),
				"write the value out in the block: it is read apart from the rest of the file")
			return
		}
		err = s.fail(n.Line, fmt.Sprintf("the anchor &%s lies inside the opstrace block", n.Value),
			"write the value out here: the block is read apart from the rest of the file")
	})
	return err
}

// line returns the line of the top-level key, 0 if it cannot be found.
func (s *source) line(key string) int {
	if root := rootOf(s.rest); root != nil {
		if keys := find(root, key); len(keys) > 0 {
			return root.Content[keys[0]].Line
		}
	}
	return 0
}

func (s *source) fail(line int, msg, hint string) error {
	return &Error{File: s.path, Line: line, Msg: msg, Hint: hint}
}

// rootOf returns the root of the first document, nil if there is none or it
// does not parse.
func rootOf(content []byte) *yaml.Node {
	doc := &yaml.Node{}
	if err := yaml.NewDecoder(bytes.NewReader(content)).Decode(doc); err != nil || len(doc.Content) == 0 {
		return nil
	}
	return doc.Content[0]
}

// find returns the indices of the key's nodes in n.Content, if n is a mapping.
func find(n *yaml.Node, key string) []int {
	var found []int
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Kind == yaml.ScalarNode && k.Value == key {
			found = append(found, i)
		}
	}
	return found
}

// walk visits n and everything below it; aliases are not followed.
func walk(n *yaml.Node, visit func(*yaml.Node)) {
	visit(n)
	for _, c := range n.Content {
		walk(c, visit)
	}
}

// parsesTo reports whether the first document of content is the mapping want,
// every node in its place. An empty mapping stands for no document.
func parsesTo(content []byte, want *yaml.Node) bool {
	doc := &yaml.Node{}
	err := yaml.NewDecoder(bytes.NewReader(content)).Decode(doc)
	if len(want.Content) == 0 {
		if errors.Is(err, io.EOF) {
			return true
		}
		return err == nil && doc.Content[0].Kind == yaml.ScalarNode && doc.Content[0].Value == ""
	}
	if err != nil || len(doc.Content[0].Content) != len(want.Content) {
		return false
	}
	for i, c := range doc.Content[0].Content {
		if !equal(c, want.Content[i]) {
			return false
		}
	}
	return true
}

func equal(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.Tag != b.Tag || a.Value != b.Value || a.Anchor != b.Anchor || len(a.Content) != len(b.Content) {
		return false
	}
	// A value that is not there lies where the next thing begins.
	if absent := a.Tag == "!!null" && a.Value == ""; !absent && (a.Line != b.Line || a.Column != b.Column) {
		return false
	}
	for i := range a.Content {
		if !equal(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

// splitLines splits after each line break, as YAML 1.1 counts lines: CRLF, CR,
// LF, NEL, LS and PS.
func splitLines(content []byte) [][]byte {
	var lines [][]byte
	start := 0
	for i := 0; i < len(content); {
		r, size := utf8.DecodeRune(content[i:])
		i += size
		if !isBreak(r) {
			continue
		}
		if r == '\r' && i < len(content) && content[i] == '\n' {
			i++
		}
		lines = append(lines, content[start:i])
		start = i
	}
	return append(lines, content[start:])
}

func isBreak(r rune) bool {
	switch r {
	case '\n', '\r', '\u0085', '\u2028', '\u2029':
		return true
	}
	return false
}

// breakLen returns the length of the line break at the end of line.
func breakLen(line []byte) int {
	if bytes.HasSuffix(line, []byte("\r\n")) {
		return 2
	}
	if r, size := utf8.DecodeLastRune(line); isBreak(r) {
		return size
	}
	return 0
}

// startsLine reports whether only indentation stands before the column.
func startsLine(line []byte, column int) bool {
	line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	return len(line) >= column-1 && len(bytes.Trim(line[:column-1], " ")) == 0
}

// blockEnd returns the last line of the document's last section, which starts
// in line first. A directive ends a document, too.
func blockEnd(lines [][]byte, first int) int {
	for n := first; n < len(lines); n++ {
		line := lines[n]
		if bytes.HasPrefix(line, []byte("%")) {
			return n
		}
		if !bytes.HasPrefix(line, []byte("---")) && !bytes.HasPrefix(line, []byte("...")) {
			continue
		}
		if r, _ := utf8.DecodeRune(line[3:]); len(line) == 3 || r == ' ' || r == '\t' || isBreak(r) {
			return n
		}
	}
	return len(lines)
}
