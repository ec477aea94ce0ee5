package main

import (
	"cmp"
	"strconv"
	"strings"
	"time"
)

// event is one thing that is done to the world. What it begins it ends as well, so that
// any part of a schedule is a schedule.
type event struct {
	at    time.Duration // since the agent was well for the first time
	lasts time.Duration // 0: it is over at once
	kind  string        // of manners
	on    string        // destination or target; nothing where the kind says all
	args  []string      // name=value
}

// arg returns the value of an argument; empty if it is not there.
func (e event) arg(name string) string {
	for _, a := range e.args {
		if value, ok := strings.CutPrefix(a, name+"="); ok {
			return value
		}
	}
	return ""
}

// number returns an argument that is one; 0 if it is not there.
func (e event) number(name string) int {
	n, _ := strconv.Atoi(e.arg(name))
	return n
}

func (e event) String() string {
	return strings.Join(append([]string{e.at.String(), e.lasts.String(), e.kind, cmp.Or(e.on, "-")}, e.args...), " ")
}
