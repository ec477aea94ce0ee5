package redact

import (
	"testing"
)

func TestLine(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{Line("a\r\n  b\tc\n", 10), "a b c"},
		{Line("\x1b[31mred\x07", 20), "�[31mred�"},
		{Line("too long by far", 8), "too lon…"},
		{Line("ümläute", 7), "ümläute"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}
