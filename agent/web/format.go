package web

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/opstrace/opstrace-agent/agent/number"
)

// formatBytes in powers of 1024: 3.1 MiB.
func formatBytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/unit, 0
	for v >= unit && i < len("KMGTPE")-1 {
		v /= unit
		i++
	}
	return threeDigits(v) + " " + "KMGTPE"[i:i+1] + "iB"
}

// formatAnyCount is formatCount for templates.
func formatAnyCount(n any) string {
	if i, ok := n.(int); ok {
		return formatCount(i)
	}
	return formatCount(n.(uint64))
}

// formatCount shortens from 10,000 on: 12.3 k.
func formatCount[T int | uint64 | float64](n T) string {
	v := float64(n)
	if v < 10_000 {
		return number.Group(uint64(math.Round(v)))
	}
	for _, unit := range []string{"k", "M", "G"} {
		if v /= 1000; v < 999.5 {
			return threeDigits(v) + " " + unit
		}
	}
	return threeDigits(v/1000) + " T"
}

func threeDigits(v float64) string {
	switch {
	case v < 9.995:
		return strings.TrimSuffix(strings.TrimSuffix(fmt.Sprintf("%.2f", v), "0"), ".0")
	case v < 99.95:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	default:
		return fmt.Sprintf("%.0f", v)
	}
}

// formatRate of something per second.
func formatRate(v float64) string {
	if v > 0 && v < 10 {
		return threeDigits(v) + "/s"
	}
	return formatCount(v) + "/s"
}

// formatDuration in its two largest units: 3 h 5 min.
func formatDuration(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%d s", int(max(d, 0).Seconds()))
	}
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		if d < u.size {
			continue
		}
		text := fmt.Sprintf("%d %s", d/u.size, u.name)
		// Seconds matter up to ten minutes, and hours up to ten days.
		if rest := d % u.size; i+1 < len(units) && d < 10*u.size && rest >= units[i+1].size {
			text += fmt.Sprintf(" %d %s", rest/units[i+1].size, units[i+1].name)
		}
		return text
	}
	return "0 s"
}

// formatMillis is for durations of scrapes.
func formatMillis(d time.Duration) string {
	if d < time.Second {
		return threeDigits(float64(d)/float64(time.Millisecond)) + " ms"
	}
	return threeDigits(d.Seconds()) + " s"
}

// ago is the distance of a time in the past, or "never".
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return formatDuration(now.Sub(t)) + " ago"
}

func formatStamp(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}
