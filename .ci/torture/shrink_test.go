package main

import (
	"slices"
	"testing"
)

func TestShrink(t *testing.T) {
	t.Parallel()
	all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	for name, c := range map[string]struct {
		needed []int // all of these together
		want   []int
	}{
		"one":          {[]int{7}, []int{7}},
		"the last":     {[]int{12}, []int{12}},
		"far apart":    {[]int{0, 12}, []int{0, 12}},
		"three":        {[]int{2, 3, 11}, []int{2, 3, 11}},
		"all":          {all, all},
		"none at all":  {nil, []int{}},
		"half of them": {[]int{0, 2, 4, 6, 8, 10, 12}, []int{0, 2, 4, 6, 8, 10, 12}},
	} {
		asked := 0
		got := shrink(all, func(part []int) bool {
			asked++
			for _, n := range c.needed {
				if !slices.Contains(part, n) {
					return false
				}
			}
			return true
		}, func() bool { return false })
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
		if asked > 2*len(all)*len(all) {
			t.Errorf("%s: asked %d times", name, asked)
		}
	}
}

// TestShrinkEnds: what is left when there is no more time has been seen to fail.
func TestShrinkEnds(t *testing.T) {
	t.Parallel()
	var failed [][]int
	got := shrink([]int{1, 2, 3, 4, 5, 6, 7, 8}, func(part []int) bool {
		failed = append(failed, part)
		return true
	}, func() bool { return len(failed) == 2 })
	if !slices.Equal(got, failed[1]) || len(got) != 2 {
		t.Errorf("%v of %v", got, failed)
	}
}
