package main

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestDraw: a schedule follows from its seed, and what it begins it ends, with time left
// to be well again in.
func TestDraw(t *testing.T) {
	t.Parallel()
	const length = 5 * time.Minute
	drawn := map[string]bool{}
	for seed := range uint64(40) {
		s := draw(seed, length)
		if again := draw(seed, length); !reflect.DeepEqual(s, again) {
			t.Fatalf("seed %d: once\n%s\nand then\n%s", seed, s, again)
		}
		if reflect.DeepEqual(s.events, draw(seed+1, length).events) {
			t.Errorf("seeds %d and %d are the same", seed, seed+1)
		}
		for i, e := range s.events {
			drawn[e.kind] = true
			m, _ := mannerOf(e.kind)
			switch {
			case e.at+e.lasts > length-settling:
				t.Errorf("seed %d: %s ends too late", seed, e)
			case (m.end == nil) != (e.lasts == 0):
				t.Errorf("seed %d: %s begins and does not end", seed, e)
			case i > 0 && e.at < s.events[i-1].at:
				t.Errorf("seed %d: %s comes too late", seed, e)
			}
		}
	}
	for _, m := range manners() {
		if !drawn[m.kind] && m.weight > 0 {
			t.Errorf("%s is never drawn", m.kind)
		}
	}
}

// TestLanesDoNotOverlap: what happens in one lane would undo what is there already.
func TestLanesDoNotOverlap(t *testing.T) {
	t.Parallel()
	laneOf := map[string]string{}
	for _, l := range lanes() {
		for _, m := range l.manners {
			laneOf[m.kind+" "+l.on] = l.name
		}
	}
	for seed := range uint64(20) {
		until := map[string]event{}
		for _, e := range draw(seed, 10*time.Minute).events {
			name := laneOf[e.kind+" "+e.on]
			if last := until[name]; name == "" || e.at < last.at+last.lasts {
				t.Errorf("seed %d, lane %q: %s begins before the end of %s", seed, name, e, last)
			}
			until[name] = e
		}
	}
}

// TestSchedulesAreRead: what is written is read as the same.
func TestSchedulesAreRead(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		s := draw(seed, 10*time.Minute)
		got, err := parse(strings.NewReader("# as it was\n\n" + s.String()))
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Fatalf("%v: written\n%s\nread\n%s", err, s, got)
		}
	}
}

func TestSchedulesThatAreNone(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                "no line with a length",
		"seed x\nlength 1m":               "line 1: ",
		"length soon":                     "line 1: ",
		"length 1m\n1s 1s kill":           `line 2: "1s 1s kill" is no event: when, how long, what, on what, arguments`,
		"length 1m\n1s 1s sing -":         `line 2: nothing is known of "sing"`,
		"length 1m\nsoon 1s kill -":       "line 2: ",
		"length 1m\n1s long kill -":       "line 2: ",
		"length 1m\n50s 20s kill -":       "50s 20s kill - ends after the 1m0s of the schedule",
		"length 1m\n1s 0s change - what=": "",
	} {
		_, err := parse(strings.NewReader(text))
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestSteps: each event has a beginning, and an end where something has to be undone;
// where both come at once, what ends makes room.
func TestSteps(t *testing.T) {
	t.Parallel()
	s, err := parse(strings.NewReader("length 1m\n1s 4s kill -\n2s 0s change - what=batch\n5s 1s term -\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []step{
		{time.Second, 0, false}, {2 * time.Second, 1, false}, {5 * time.Second, 0, true},
		{5 * time.Second, 2, false}, {6 * time.Second, 2, true},
	}
	if got := steps(s); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	e := event{kind: "answer", args: []string{"status=503", "body=page"}}
	if e.number("status") != 503 || e.arg("body") != "page" || e.arg("bod") != "" || e.number("retry-after") != 0 {
		t.Errorf("%+v", e)
	}
	if a := statusAnswer(e); a.Status != 503 || !strings.HasPrefix(a.Body, "<html>") {
		t.Errorf("%+v", a)
	}
}
