package number

import (
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{Duration(0), "0 ms"},
		{Duration(1400 * time.Microsecond), "1 ms"},
		{Duration(999_400 * time.Microsecond), "999 ms"},
		{Duration(999_600 * time.Microsecond), "1 s"},
		{Duration(1028 * time.Millisecond), "1 s"},
		{Duration(1451 * time.Millisecond), "1.5 s"},
		{Duration(1999 * time.Millisecond), "2 s"},
		{Duration(2 * time.Second), "2 s"},
		{Duration(119 * time.Second), "119 s"},
		{Duration(12*time.Minute + 31*time.Second), "13 m"},
		{Duration(47 * time.Hour), "47 h"},
		{Duration(90 * 24 * time.Hour), "90 d"},
		{Bytes(1023), "1023 B"},
		{Bytes(1536), "1.5 KiB"},
		{Bytes(1 << 30), "1 GiB"},
		{Bytes(1<<30 - 1), "1 GiB"},
		{Bytes(1 << 52), "4096 TiB"},
		{Count(1, "target"), "1 target"},
		{Count(0, "target"), "0 targets"},
		{Count(1200, "target"), "1,200 targets"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}
