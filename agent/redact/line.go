package redact

import (
	"strings"
	"unicode"
)

// Line makes one line of what somebody else wrote, at most limit characters of
// it. An endpoint, or whatever answers in its place, could otherwise move the
// cursor, set colours or fill the screen with a page of HTML.
func Line(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return unicode.ReplacementChar
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit-1]) + "…"
	}
	return s
}
