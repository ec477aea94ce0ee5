package scrapeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	blockKey = "opstrace"
	hostKey  = "host"
)

// blockKeys are those of the blocks that upstream does not know.
var blockKeys = []string{blockKey, hostKey}

// source is a configuration as text, taken apart into its blocks and the rest.
// All keep every line where it was.
type source struct {
	path   string
	rest   []byte            // what upstream gets: the blocks' lines are empty comments
	blocks map[string]*block // by key, those that are there
}

// parse finds the blocks and separates them from the rest.
func parse(content []byte, path string) (*source, error) {
	src := &source{path: path, rest: content, blocks: map[string]*block{}}
	// A file without their words is upstream's alone: it is neither parsed a
	// second time nor touched.
	if !slices.ContainsFunc(blockKeys, func(key string) bool { return bytes.Contains(content, []byte(key)) }) {
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
	fail := func(key string, line int) error {
		return s.fail(line, "the "+key+" block is not in the first YAML document of the file",
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
				if key := keyOf(lines[n]); slices.Contains(blockKeys, key) {
					return fail(key, n+1)
				}
			}
			return nil
		}
		for _, key := range blockKeys {
			if keys := find(doc.Content[0], key); len(keys) > 0 {
				return fail(key, doc.Content[0].Content[keys[0]].Line)
			}
		}
	}
}

// keyOf returns the key that a line begins with, if it looks like one.
func keyOf(line []byte) string {
	const around = " \"'"
	key, _, is := bytes.Cut(line, []byte(":"))
	if !is {
		return ""
	}
	return string(bytes.Trim(key, around))
}

// cut blanks the blocks' lines out of the rest, and all others out of their
// texts. Blank means an empty comment: an empty line would belong to a block
// scalar above it that keeps its line breaks.
func (s *source) cut(root *yaml.Node, content []byte) error {
	lines := splitLines(content)
	want := *root
	want.Content = nil
	rest := slices.Clone(lines)
	var first *yaml.Node
	for i := 0; i+1 < len(root.Content) && root.Kind == yaml.MappingNode; i += 2 {
		key := root.Content[i]
		if key.Kind != yaml.ScalarNode || !slices.Contains(blockKeys, key.Value) {
			want.Content = append(want.Content, root.Content[i:i+2]...)
			continue
		}
		end, err := s.endOf(root, i, lines)
		if err != nil {
			return err
		}
		text := make([][]byte, len(lines))
		for n, line := range lines {
			blank := append([]byte("#"), line[len(line)-breakLen(line):]...)
			if text[n] = blank; n+1 >= key.Line && n+1 <= end {
				text[n], rest[n] = line, blank
			}
		}
		s.blocks[key.Value] = &block{key: key, value: root.Content[i+1], text: bytes.Join(text, nil)}
		if first == nil {
			first = key
		}
	}
	if first == nil {
		return nil
	}
	s.rest = bytes.Join(rest, nil)
	// Whatever the lines above missed (a `? key` that starts a line before its
	// node does, another document that moves up) must not reach upstream as a
	// changed configuration.
	if !parsesTo(s.rest, &want) {
		return s.fail(first.Line, "the "+first.Value+" block cannot be separated from the rest of the file", blockStyle(first.Value))
	}
	return nil
}

func blockStyle(key string) string {
	return "write `" + key + ":` at the start of a line of its own, in block style, and the other sections too"
}

// endOf returns the last line of the block whose key is the i-th node below root.
func (s *source) endOf(root *yaml.Node, i int, lines [][]byte) (int, error) {
	key, value := root.Content[i], root.Content[i+1]
	if b := s.blocks[key.Value]; b != nil {
		hint := "keep one of them"
		if key.Value == blockKey {
			hint = "for several tenants, make opstrace: a list"
		}
		return 0, s.fail(key.Line, fmt.Sprintf("%s is set a second time (first in line %d)", key.Value, b.key.Line), hint)
	}
	if err := s.refuseCrossingAliases(root, key, value); err != nil {
		return 0, err
	}
	if root.Style&yaml.FlowStyle != 0 || !startsLine(lines[key.Line-1], key.Column) {
		return 0, s.fail(key.Line, "the "+key.Value+" block does not start a line", blockStyle(key.Value))
	}
	if i+2 < len(root.Content) {
		return root.Content[i+2].Line - 1, nil
	}
	return blockEnd(lines, key.Line), nil
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
			err = s.fail(n.Line, fmt.Sprintf("the %s block uses the anchor &%s, which lies outside of the block", key.Value, n.Value),
				"write the value out in the block: it is read apart from the rest of the file")
			return
		}
		err = s.fail(n.Line, fmt.Sprintf("the anchor &%s lies inside the %s block", n.Value, key.Value),
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
