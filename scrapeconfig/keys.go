package scrapeconfig

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"

	"github.com/opstrace/opstrace-agent/scrapeconfig/similar"
)

// meant is a hint with the key that an unknown one was likely meant to be; without
// such a key, it is otherwise.
func meant(key, otherwise string) string {
	if known := similar.Word(key, knownKeys()); known != "" {
		return "did you mean " + known + "?"
	}
	return otherwise
}

// knownKeys are all keys of a configuration, wherever they stand.
var knownKeys = sync.OnceValue(func() []string {
	keys := []string{blockKey, hostKey, "static_configs", "targets", "labels"}
	for _, name := range discovery.RegisteredConfigNames() {
		keys = append(keys, name+"_sd_configs")
	}
	keys = appendKeys(keys, reflect.TypeFor[config.Config](), map[reflect.Type]bool{})
	keys = appendKeys(keys, reflect.TypeFor[tenant](), map[reflect.Type]bool{})
	keys = appendKeys(keys, reflect.TypeFor[hostJob](), map[reflect.Type]bool{})
	slices.Sort(keys)
	return slices.Compact(keys)
})

func appendKeys(keys []string, t reflect.Type, seen map[reflect.Type]bool) []string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return appendKeys(keys, t.Elem(), seen)
	case reflect.Struct:
	default:
		return keys
	}
	if seen[t] {
		return keys
	}
	seen[t] = true
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if name != "" {
			keys = append(keys, name)
		}
		keys = appendKeys(keys, f.Type, seen)
	}
	return keys
}
