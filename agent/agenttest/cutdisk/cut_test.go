package cutdisk

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// What was flushed is there in all manners; what was written since is there in sectors,
// old or new, and in the order of writing only where that is said.
func TestCut(t *testing.T) {
	const size = 8 * sector
	write := func(at int, b byte, n int) op {
		return op{off: int64(at * sector), data: bytes.Repeat([]byte{b}, n*sector)}
	}
	ops := []op{
		write(0, 'a', 8), {flush: true}, write(1, 'b', 2), {flush: true},
		write(2, 'c', 3), write(4, 'd', 2), write(7, 'e', 1),
	}
	seen := map[Manner]map[string]bool{}
	for seed := range uint64(2000) {
		for _, m := range Manners() {
			image := make([]byte, size)
			cut(image, ops, m, rand.New(rand.NewPCG(seed, 0)))
			var sectors []byte
			for at := 0; at < size; at += sector {
				if s := image[at : at+sector]; !bytes.Equal(s, bytes.Repeat(s[:1], sector)) {
					t.Fatalf("%s: the sector at %d is of two writes", m, at)
				}
				sectors = append(sectors, image[at])
			}
			if seen[m] == nil {
				seen[m] = map[string]bool{}
			}
			seen[m][string(sectors)] = true
		}
	}
	for m, want := range map[Manner][]string{
		Dropped:   {"abbaaaaa"},
		Ordered:   {"abbaaaaa", "abcccaaa", "abccddaa", "abccddae"},
		Reordered: {"abbaaaaa", "abcccaaa", "abccddaa", "abccddae", "abbaddaa", "abbaddae", "abbaaaae", "abcccaae"},
		Torn:      {"abbaaaaa", "abccddae", "abcaaaaa", "abbacaaa", "abbaadaa", "abccadae"},
	} {
		for _, image := range want {
			if !seen[m][image] {
				t.Errorf("%s: never %s", m, image)
			}
			delete(seen[m], image)
		}
		if m != Torn && len(seen[m]) > 0 {
			t.Errorf("%s: also %v", m, seen[m])
		}
	}
	for image := range seen[Torn] {
		if image[0] != 'a' || image[1] != 'b' || image[6] != 'a' {
			t.Errorf("torn: %s", image)
		}
	}
}
