// Package similar finds the word that somebody meant.
package similar

// Word returns the known word that is most like another one; empty if none is
// so much like it that it was likely meant.
func Word(word string, known []string) string {
	best, least := "", min(len(word)/3, 2)+1
	for _, k := range known {
		if d := distance(word, k); d > 0 && d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is how many letters have to be changed, added, left out or exchanged
// with their neighbour.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
