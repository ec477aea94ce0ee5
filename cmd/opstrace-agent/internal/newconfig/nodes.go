package newconfig

import (
	"iter"

	"go.yaml.in/yaml/v3"
)

// pairs are the keys and values of a mapping; none of anything else.
func pairs(mapping *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		if mapping == nil || mapping.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i < len(mapping.Content); i += 2 {
			if !yield(mapping.Content[i], mapping.Content[i+1]) {
				return
			}
		}
	}
}

// items are those of a sequence; none of anything else.
func items(sequence *yaml.Node) []*yaml.Node {
	if sequence == nil || sequence.Kind != yaml.SequenceNode {
		return nil
	}
	return sequence.Content
}

// merged puts what stands behind << beside the keys of its mapping, in a document
// without aliases: what is left out, or has another name, is looked for among these.
func merged(n *yaml.Node) {
	for _, child := range n.Content {
		merged(child)
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	var own, inherited []*yaml.Node
	for key, val := range pairs(n) {
		switch {
		case key.Tag != "!!merge":
			own = append(own, key, val)
		case val.Kind == yaml.SequenceNode:
			inherited = append(inherited, val.Content...)
		default:
			inherited = append(inherited, val)
		}
	}
	n.Content = own
	for _, from := range inherited {
		for key, val := range pairs(from) {
			if value(n, key.Value) == nil {
				n.Content = append(n.Content, key, val)
			}
		}
	}
}

// entry is a key with its value, as a mapping has them.
func entry(key string, val *yaml.Node) []*yaml.Node {
	return []*yaml.Node{word(key), val}
}

func word(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

func list(of ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: of}
}

func mapping(of ...[]*yaml.Node) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, e := range of {
		n.Content = append(n.Content, e...)
	}
	return n
}
