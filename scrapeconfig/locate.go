package scrapeconfig

import (
	"slices"
	"sort"

	"go.yaml.in/yaml/v3"
)

// locator finds the node that an error without a line is about, by loading
// the tree again with parts of it left out. It works on a tree of its own,
// which it may leave reduced.
type locator struct {
	try  func() error // loads the tree as it stands
	want string       // the error to find
}

func (l *locator) same() bool {
	err := l.try()
	return err != nil && err.Error() == l.want
}

// locate returns the line of the node below root that makes try return err;
// 0 if no section makes it return err by itself.
func locate(root *yaml.Node, err error, try func([]byte) error) int {
	walk(root, func(n *yaml.Node) { n.HeadComment, n.LineComment, n.FootComment = "", "", "" })
	l := &locator{want: err.Error(), try: func() error {
		b, err := yaml.Marshal(root)
		if err != nil {
			return err
		}
		return try(b)
	}}
	if root.Kind != yaml.MappingNode {
		return root.Line
	}
	// The sections know nothing of each other, but all of them know global. One
	// is enough, so the first error is found however many there are.
	var global []*yaml.Node
	all := root.Content
	if i := find(root, "global"); len(i) > 0 {
		global = all[i[0] : i[0]+2]
	}
	for i := 0; i < len(all); i += 2 {
		root.Content = slices.Clone(all[i : i+2])
		if global != nil && all[i] != global[0] {
			root.Content = append(root.Content, global...)
		}
		if l.same() {
			return l.find(all[i+1], all[i].Line)
		}
	}
	return 0
}

// find returns the line of the deepest node at or below n without which the
// load succeeds; line, if n is the one.
func (l *locator) find(n *yaml.Node, line int) int {
	switch n.Kind {
	case yaml.SequenceNode:
		return l.findItem(n, line)
	case yaml.MappingNode:
		return l.findField(n, line)
	}
	return line
}

// findItem looks for the first item that fails alone, and else for the one at
// which the list begins to fail: it fails together with one above, as their
// names are the same.
func (l *locator) findItem(n *yaml.Node, line int) int {
	all := n.Content
	for i, item := range all {
		if n.Content = all[i : i+1]; l.same() {
			return l.find(item, item.Line)
		}
	}
	i := sort.Search(len(all), func(i int) bool {
		n.Content = all[:i+1]
		return l.same()
	})
	if i == len(all) {
		n.Content = all
		return line
	}
	n.Content = all[:i+1]
	return l.find(all[i], all[i].Line)
}

// findField looks for the field without which all is well, the later one
// where two exclude each other. Without a required field something else
// fails, so that one is not taken for it. What the error does not need is left
// out first: it may be wrong in another way, and then nothing would be well.
func (l *locator) findField(n *yaml.Node, line int) int {
	for i := len(n.Content) - 2; i >= 0; i -= 2 {
		all := n.Content
		if n.Content = slices.Concat(all[:i], all[i+2:]); !l.same() {
			n.Content = all
		}
	}
	all := n.Content
	if len(all) == 2 {
		return l.find(all[1], all[0].Line)
	}
	for i := len(all) - 2; i >= 0; i -= 2 {
		n.Content = slices.Concat(all[:i], all[i+2:])
		fits := l.try() == nil
		n.Content = all
		if fits {
			return l.find(all[i+1], all[i].Line)
		}
	}
	return line
}
