package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// schedule is everything that is done in a run, in the order in which it begins.
type schedule struct {
	seed   uint64 // that it was drawn from
	length time.Duration
	events []event
}

// String is read by parse.
func (s schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\nlength %s\n", s.seed, s.length)
	for _, e := range s.events {
		fmt.Fprintln(&b, e)
	}
	return b.String()
}

// parse reads a schedule. Lines that begin with # and empty ones are passed over.
func parse(r io.Reader) (schedule, error) {
	var s schedule
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if err := s.read(fields); err != nil {
			return s, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if s.length <= 0 {
		return s, fmt.Errorf("no line with a length")
	}
	for _, e := range s.events {
		if e.at+e.lasts > s.length {
			return s, fmt.Errorf("%s ends after the %s of the schedule", e, s.length)
		}
	}
	slices.SortStableFunc(s.events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return s, lines.Err()
}

func (s *schedule) read(fields []string) (err error) {
	switch {
	case fields[0] == "seed" && len(fields) == 2:
		s.seed, err = strconv.ParseUint(fields[1], 10, 64)
	case fields[0] == "length" && len(fields) == 2:
		s.length, err = time.ParseDuration(fields[1])
	case len(fields) < 4:
		err = fmt.Errorf("%q is no event: when, how long, what, on what, arguments", strings.Join(fields, " "))
	default:
		e := event{kind: fields[2], on: fields[3]}
		if e.on == "-" {
			e.on = ""
		}
		if len(fields) > 4 {
			e.args = fields[4:]
		}
		if e.at, err = time.ParseDuration(fields[0]); err != nil {
			return err
		}
		if e.lasts, err = time.ParseDuration(fields[1]); err != nil {
			return err
		}
		if _, ok := mannerOf(e.kind); !ok {
			return fmt.Errorf("nothing is known of %q", e.kind)
		}
		s.events = append(s.events, e)
	}
	return err
}
