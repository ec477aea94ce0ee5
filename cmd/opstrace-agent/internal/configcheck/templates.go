package configcheck

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// reference is $name or ${name} in what a relabelling rule writes; $$ is a dollar
// sign.
var reference = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\$(?:\$|\{(\w+)\}|(\w+))`) })

// templates finds names that are no group of the rule's regex. They become nothing,
// silently, and with them a label that should have been a variable's value.
func (l *look) templates() {
	for _, d := range l.docs {
		rules(d.root, false, func(rule *yaml.Node) {
			re, err := regexp.Compile(valueOf(rule, "regex", "(.*)"))
			if err != nil {
				return // another one of YAML's ways to write it
			}
			for i := 0; i+1 < len(rule.Content); i += 2 {
				key, value := rule.Content[i].Value, rule.Content[i+1]
				if key != "replacement" && key != "target_label" {
					continue
				}
				for _, name := range unknownGroups(re, value.Value) {
					l.add(Finding{File: d.path, Line: value.Line,
						Msg:  fmt.Sprintf("%s: $%s is no group of regex, and becomes nothing", key, name),
						Hint: groupHint(name)})
				}
			}
		})
	}
}

// rules calls visit for every relabelling rule below a node.
func rules(n *yaml.Node, relabelling bool, visit func(rule *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		for _, c := range n.Content {
			rules(c, relabelling, visit)
		}
		return
	}
	if relabelling {
		visit(n)
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		rules(n.Content[i+1], isRelabelling(n.Content[i].Value), visit)
	}
}

func valueOf(mapping *yaml.Node, key, otherwise string) string {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1].Value
		}
	}
	return otherwise
}

// unknownGroups returns the names in a template that are no group of re.
func unknownGroups(re *regexp.Regexp, template string) (unknown []string) {
	for _, m := range reference().FindAllStringSubmatch(template, -1) {
		name := m[1] + m[2]
		if name == "" {
			continue
		}
		if n, err := strconv.Atoi(name); err == nil && n <= re.NumSubexp() || slices.Contains(re.SubexpNames(), name) {
			continue
		}
		unknown = append(unknown, name)
	}
	return unknown
}

// groupHint knows that $1_x is the group 1_x, and not the first one with _x behind it.
func groupHint(name string) string {
	rest := strings.TrimLeft(name, "0123456789")
	switch number := strings.TrimSuffix(name, rest); {
	case rest == "":
		return "count the groups of regex"
	case number != "":
		return "write ${" + number + "}" + rest
	}
	return "write the value here: variables are replaced in global.external_labels only"
}
