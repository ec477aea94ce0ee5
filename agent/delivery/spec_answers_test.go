package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// world is what was seen, by the version of remote write that was sent.
type world map[string]seen

// outcome is one rule about what follows from answers. It returns the first thing that
// breaks it.
type outcome func(a answered) error

// sentAgain are the requests of which a sample was in an earlier one.
func sentAgain(posts []*posted) (again []*posted) {
	before := map[string]bool{}
	for _, p := range posts {
		ids := p.identities()
		if slices.ContainsFunc(ids, func(id string) bool { return before[id] }) {
			again = append(again, p)
		}
		for _, id := range ids {
			before[id] = true
		}
	}
	return again
}

// once: no sample is sent twice.
func once(a answered) error {
	if again := sentAgain(a.posts); len(again) > 0 {
		return fmt.Errorf("%d of %d requests have samples of an earlier one", len(again), len(a.posts))
	}
	return nil
}

// sameRequestOnce: no request is sent twice, whatever becomes of its parts.
func sameRequestOnce(a answered) error {
	for i, p := range a.posts {
		if slices.ContainsFunc(a.posts[:i], func(q *posted) bool { return bytes.Equal(p.body, q.body) }) {
			return fmt.Errorf("request %d was sent before", i+1)
		}
	}
	return nil
}

// partsAgain: the request is not sent again, but its samples are, in smaller ones.
func partsAgain(a answered) error {
	if len(sentAgain(a.posts)) == 0 {
		return errors.New("nothing is sent again")
	}
	return sameRequestOnce(a)
}

func allDelivered(a answered) error {
	if l := a.ledger; l.Appended == 0 || l.Delivered != l.Appended {
		return fmt.Errorf("%d of %d are delivered", l.Delivered, l.Appended)
	}
	return nil
}

// retried: what was refused is sent again as it was, with the number of the attempt,
// until it is taken, and before anything else.
func retried(a answered) error {
	attempt := 0
	for i, p := range a.posts {
		want := ""
		if attempt > 0 {
			want = strconv.Itoa(attempt)
		}
		if got := p.header.Get("Retry-Attempt"); got != want {
			return fmt.Errorf("request %d has Retry-Attempt %q, not %q", i+1, got, want)
		}
		if attempt > 0 && !bytes.Equal(p.body, a.posts[i-1].body) {
			return fmt.Errorf("request %d is another one than that which was refused", i+1)
		}
		if attempt++; p.acknowledged() {
			attempt = 0
		}
	}
	if len(a.posts) < 2 || attempt > 0 || a.posts[0].acknowledged() {
		return errors.New("nothing was refused, or not taken in the end")
	}
	return allDelivered(a)
}

// pauses are those between an answer and the next attempt of the same request.
func pauses(posts []*posted) (all []time.Duration) {
	for i := 1; i < len(posts); i++ {
		if bytes.Equal(posts[i].body, posts[i-1].body) {
			all = append(all, posts[i].begun.Sub(posts[i-1].answered))
		}
	}
	return all
}

// backsOff: pauses are at least half of min_backoff, doubling up to max_backoff.
func backsOff(a answered) error {
	all := pauses(a.posts)
	if len(all) < 4 {
		return fmt.Errorf("there are %d pauses", len(all))
	}
	for i, pause := range all {
		if least := min(specMinBackoff<<i, specMaxBackoff) / 2; pause < least {
			return fmt.Errorf("pause %d is %s, less than %s", i+1, pause, least)
		}
	}
	return nil
}

// waited: the first pause is at least what Retry-After asked for.
func waited(least time.Duration) outcome {
	return func(a answered) error {
		if all := pauses(a.posts); len(all) == 0 || all[0] < least {
			return fmt.Errorf("the pauses are %s", all)
		}
		return retried(a)
	}
}

// heldInTheEnd: what is refused is sent again and taken in the end.
func heldInTheEnd(a answered) error {
	refused, again := 0, 0
	for i, p := range a.posts {
		if p.acknowledged() {
			continue
		}
		refused++
		if len(sentAgain([]*posted{p, a.posts[min(i+1, len(a.posts)-1)]})) > 0 {
			again++
		}
	}
	if refused != len(heldStatuses) || again != refused {
		return fmt.Errorf("%d of %d refused requests are sent again", again, refused)
	}
	return allDelivered(a)
}

// givenUp: what is refused is not sent again, and counted by its status.
func givenUp(a answered) error {
	for _, status := range heldStatuses {
		if n := a.ledger.Refused["http_"+strconv.Itoa(status)]; n == 0 {
			return fmt.Errorf("nothing is counted as refused with %d: %+v", status, a.ledger)
		}
	}
	return once(a)
}

// givenUpLive: a batch that a live queue is refused is sent once more.
func givenUpLive(a answered) error {
	again := sentAgain(a.posts)
	if len(again) != 1 || again[0] != a.posts[1] {
		return fmt.Errorf("%d requests are sent again", len(again))
	}
	rest := a
	rest.posts = a.posts[1:]
	return once(rest)
}

// interpreted: the words of a refusal name it in the ledger, or have its parts sent in
// another way.
func interpreted(a answered) error {
	if a.state == Live {
		if l := a.ledger; l.Uncertain["http_400"] == 0 || l.Uncertain["out_of_bounds"] == 0 {
			return fmt.Errorf("%+v", l)
		}
		return nil
	}
	return partsAgain(a)
}

func logged(a answered) error {
	if !strings.Contains(a.words, finalWords) {
		return errors.New("the words of the answer are not in the log")
	}
	return nil
}

// counted: what is refused for good is in the ledger.
func counted(a answered) error {
	if l := a.ledger; a.state == Live && l.Uncertain["http_400"] == 0 || l.Sum() != l.Appended {
		return fmt.Errorf("%+v", l)
	}
	return sameRequestOnce(a)
}
