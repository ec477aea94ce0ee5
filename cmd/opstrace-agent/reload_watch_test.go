package main

import (
	"errors"
	"testing"
)

func TestWatchedFile(t *testing.T) {
	refusal := errors.New("no")
	type step struct {
		content string
		want    sight
		loaded  bool // by somebody, before the look
		err     error
	}
	for name, steps := range map[string][]step{
		"nothing changes":             {{content: "a", want: unchanged}, {content: "a", want: unchanged}},
		"changed, and stays":          {{content: "b", want: unstable}, {content: "b", want: ready}, {content: "b", loaded: true, want: unchanged}},
		"while it is written":         {{content: "b", want: unstable}, {content: "c", want: unstable}, {content: "d", want: unstable}, {content: "d", want: ready}},
		"gone for a moment":           {{content: "", want: unstable}, {content: "a", want: unchanged}, {content: "", want: unstable}},
		"gone":                        {{content: "", want: unstable}, {content: "", want: ready}, {content: "", loaded: true, err: refusal, want: ready}},
		"refused, and the old again":  {{content: "b", loaded: true, err: refusal, want: ready}, {content: "a", want: unstable}, {content: "a", want: ready}, {content: "a", loaded: true, want: unchanged}},
		"refused for what it names":   {{content: "a", loaded: true, err: refusal, want: ready}, {content: "a", loaded: true, want: unchanged}},
		"loaded by a signal meantime": {{content: "b", want: unstable}, {content: "b", loaded: true, want: unchanged}},
	} {
		w := watch("a")
		for i, s := range steps {
			if s.loaded {
				w.loaded(s.content, s.err)
			}
			if got := w.look(s.content); got != s.want {
				t.Errorf("%s, step %d: %d, want %d", name, i, got, s.want)
			}
		}
	}
}
