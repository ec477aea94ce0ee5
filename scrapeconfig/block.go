package scrapeconfig

import (
	"errors"

	"go.yaml.in/yaml/v3"
)

// block is a section of the file that upstream does not know.
type block struct {
	key, value *yaml.Node
	text       []byte // all lines but the block's are empty comments
}

// fieldError is a refusal of one entry of a block.
type fieldError struct {
	entry     int      // 0 in a block that is no list
	path      []string // of keys, to the field; empty: the entry as a whole
	msg, hint string
}

func (e *fieldError) Error() string { return e.msg }

// explainBlock turns a refusal of a block, which expand returned for its text, into an
// *Error.
func (s *source) explainBlock(b *block, err error, expand func(text []byte) error) error {
	if fe, ok := errors.AsType[*fieldError](err); ok {
		return &Error{File: s.path, Line: b.line(fe.entry, fe.path...), Msg: fe.msg, Hint: fe.hint}
	}
	e := explain(s.path, b.text, err, expand)
	if e.Line == 0 {
		e.Line = b.key.Line
	}
	return e
}

// line returns the line of a field of an entry; where it is not there, or merged from
// elsewhere, that of what it would be in.
func (b *block) line(entry int, path ...string) int {
	n, line := b.value, b.key.Line
	if n.Kind == yaml.SequenceNode {
		if entry >= len(n.Content) {
			return line
		}
		n = n.Content[entry]
		line = n.Line
	}
	for _, key := range path {
		keys := find(n, key)
		if len(keys) == 0 {
			break
		}
		line, n = n.Content[keys[0]].Line, n.Content[keys[0]+1]
	}
	return line
}
