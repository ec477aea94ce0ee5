package main

import "slices"

// shrink returns the shortest list that it finds of which fails still says so, where the
// whole list does: it leaves out a half, then quarters, and so on, down to single ones.
// It ends early when enough says so; what it returns has failed in any case.
func shrink[T any](list []T, fails func([]T) bool, enough func() bool) []T {
	for parts := 2; len(list) > 0; {
		size := (len(list) + parts - 1) / parts
		cut := false
		for from := 0; from < len(list); from += size {
			if enough() {
				return list
			}
			rest := slices.Concat(list[:from], list[min(from+size, len(list)):])
			if fails(rest) {
				list, cut = rest, true
				break
			}
		}
		switch {
		case cut:
			parts = max(parts-1, 2)
		case size == 1:
			return list
		default:
			parts = min(2*parts, len(list))
		}
	}
	return list
}
