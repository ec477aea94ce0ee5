package limits

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestSizingTable: the documents' table of limits by memory is that of the code.
func TestSizingTable(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../packaging/doc/sizing.md")
	if err != nil {
		t.Fatal(err)
	}
	number := func(s []byte) float64 {
		n, err := strconv.ParseFloat(strings.ReplaceAll(string(s), ",", ""), 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	rows := regexp.MustCompile(`(?m)^\| ([\d,]+) MiB \| ([\d,]+) MiB \| ([\d,]+) \| ([\d.]+) MiB \|$`).FindAllSubmatch(page, -1)
	if len(rows) < 3 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, row := range rows {
		memory := number(row[1]) * (1 << 20) * 9 / 10
		l := From(int64(memory))
		if math.Floor(memory/(1<<20)) != number(row[2]) || l.MaxSeries/100*100 != uint64(number(row[3])) || math.Abs(float64(l.BodySize)/(1<<20)-number(row[4])) > 0.05 {
			t.Errorf("%s: there are %d series and a body of %d bytes", row[0], l.MaxSeries, l.BodySize)
		}
	}
}
