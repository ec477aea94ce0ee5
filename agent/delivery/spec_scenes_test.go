package delivery

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// seen is what one version of remote write was seen to do, by scene and destination.
type seen map[string]map[string]answered

// scenes are what the rows of the specification look at. They run at once.
var scenes = map[string]func(t *testing.T, version string) map[string]answered{
	"rich": sceneRich, "names": sceneNames, "5xx": scene5xx, "seconds": sceneSeconds, "date": sceneDate,
	"2xx": scene2xx, "page": scenePage, "final": sceneFinal, "held": sceneHeld, "given up": sceneGivenUp,
	"nothing written": sceneNothingWritten, "many exemplars": sceneManyExemplars, "scraped": sceneScraped,
}

// sceneRich: everything that a target can show, and for "plain" and "drained plain",
// which are not told to send more than the defaults.
func sceneRich(t *testing.T, version string) map[string]answered {
	s := newSpecRig(t, version, "plain", "drained plain")
	s.global = "  external_labels: {site: b, region: r, Above: a, nothing: \"\"}"
	s.queue = "    queue_config: {batch_send_deadline: 100ms, min_backoff: 10ms, max_backoff: 50ms, max_samples_per_send: 40, capacity: 200}\n"
	for name := range s.recorders {
		s.extra[name] += specRelabelling
		if !strings.HasSuffix(name, "plain") {
			s.extra[name] += "    send_exemplars: true\n    send_native_histograms: true\n"
		}
	}
	s.start()
	s.play(func(string) func(*posted) *agenttest.Answer { return acknowledge(http.StatusNoContent, "") })
	for n := range 20 {
		s.expose(n, s.next())
	}
	all := s.settled()
	s.stayed()
	for name, a := range all {
		a.sent = s.of(name, a)
		all[name] = a
	}
	return all
}

// sceneNames: names that Prometheus takes and the specification of 1.0 does not.
func sceneNames(t *testing.T, version string) map[string]answered {
	s := newSpecRig(t, version)
	s.start()
	s.play(func(string) func(*posted) *agenttest.Answer { return acknowledge(http.StatusNoContent, "") })
	app := s.append.AppenderV2(t.Context())
	s.add(app, labels.FromStrings("__name__", "http.requests", "http.method", "GET", "__type__", "counter"), s.next(), 1)
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	all := s.settled()
	for name, a := range all {
		a.sent = s.of(name, a)
		all[name] = a
	}
	return all
}

// Pauses of the scene 5xx: min_backoff and max_backoff.
const specMinBackoff, specMaxBackoff = 20 * time.Millisecond, 80 * time.Millisecond

// scene5xx: a receiver in trouble, then two batches.
func scene5xx(t *testing.T, version string) map[string]answered {
	s := newSpecRig(t, version)
	s.queue = fmt.Sprintf("    queue_config: {batch_send_deadline: 100ms, min_backoff: %s, max_backoff: %s}\n", specMinBackoff, specMaxBackoff)
	s.start()
	s.play(func(string) func(*posted) *agenttest.Answer {
		return inOrder(agenttest.Answer{Status: 500}, agenttest.Answer{Status: 502}, agenttest.Answer{Status: 503, Body: "later"}, agenttest.Answer{Status: 504})
	})
	s.scrapes(2, 20)
	s.settled()
	s.scrapes(2, 20)
	all := s.settled()
	s.stayed()
	return all
}

func sceneSeconds(t *testing.T, version string) map[string]answered {
	return sceneRetryAfter(t, version, http.StatusTooManyRequests, "1")
}

func sceneDate(t *testing.T, version string) map[string]answered {
	return sceneRetryAfter(t, version, http.StatusServiceUnavailable, "")
}

// retryDate is in how many seconds a receiver wants to be asked again by a date, but
// for a part of one.
const retryDate = 2

// sceneRetryAfter: a receiver that says when it wants to be asked again; without a
// value, at a date.
func sceneRetryAfter(t *testing.T, version string, status int, after string) map[string]answered {
	s := newSpecRig(t, version)
	s.start()
	s.play(func(string) func(*posted) *agenttest.Answer {
		asked := false
		return func(p *posted) *agenttest.Answer {
			if asked || p.empty() {
				return nil
			}
			asked = true
			at := after
			if at == "" {
				at = p.begun.Add(retryDate * time.Second).UTC().Format(http.TimeFormat)
			}
			return &agenttest.Answer{Status: status, Header: http.Header{"Retry-After": {at}}}
		}
	})
	s.scrapes(2, 20)
	all := s.settled()
	s.stayed()
	return all
}

// scene2xx: every kind of success, with words in it and headers of another version.
func scene2xx(t *testing.T, version string) map[string]answered {
	s := newSpecRig(t, version)
	s.start()
	for _, status := range []int{200, 202, 204} {
		s.play2xx(status)
		s.scrapes(2, 20)
		s.settled()
	}
	all := s.settled()
	s.stayed()
	return all
}

// play2xx goes on with what is recorded.
func (s *specRig) play2xx(status int) {
	for _, c := range s.recorders {
		ack := acknowledge(status, "error: this is to be ignored")
		c.mtx.Lock()
		c.script = func(p *posted) *agenttest.Answer {
			a := ack(p)
			a.Header.Set("X-Prometheus-Remote-Write-Version", "2.0.0")
			if status == http.StatusNoContent {
				a.Body = ""
			}
			return a
		}
		c.mtx.Unlock()
	}
}

// scenePage: a page in the receiver's place, with 200.
func scenePage(t *testing.T, version string) map[string]answered {
	s := newSpecRig(t, version)
	s.start()
	s.play(func(string) func(*posted) *agenttest.Answer {
		page := agenttest.Answer{Status: 200, Body: "<html><title>Log in</title></html>", Header: http.Header{"Content-Type": {"text/html"}}}
		if version == "2.0" {
			page.Header.Set("X-Prometheus-Remote-Write-Samples-Written", "40")
		}
		return inOrder(page)
	})
	s.scrapes(2, 20)
	return s.settled()
}

// finalWords are of a refusal that nothing is known of.
const finalWords = "the receiver does not like request 4711"

// sceneFinal: refusals of samples, one for each batch.
func sceneFinal(t *testing.T, version string) map[string]answered {
	s := newSpecRig(t, version)
	s.start()
	for _, a := range []agenttest.Answer{{Status: 400, Body: finalWords}, {Status: 422, Body: "timestamp too old"}} {
		for _, c := range s.recorders {
			answer := inOrder(a)
			c.mtx.Lock()
			c.script = answer
			c.mtx.Unlock()
		}
		s.scrapes(2, 20)
		s.settled()
	}
	return s.settled()
}

// heldStatuses are what the agent waits for, where the specification says not to.
var heldStatuses = []int{401, 403, 404, 405, 407, 408, 409, 410, 415, 418, 425, 451}

// sceneHeld: refusals that waiting can mend, one after the other.
func sceneHeld(t *testing.T, version string) map[string]answered { return sceneRefused(t, version) }

// sceneGivenUp: the same with the switch on.
func sceneGivenUp(t *testing.T, version string) map[string]answered {
	return sceneRefused(t, version, specPaths...)
}

func sceneRefused(t *testing.T, version string, giveUp ...string) map[string]answered {
	s := newSpecRig(t, version)
	s.options.GiveUpRefused = giveUp
	s.start()
	for _, status := range heldStatuses {
		for _, c := range s.recorders {
			answer := inOrder(agenttest.Answer{Status: status, Body: "no"})
			c.mtx.Lock()
			c.script = answer
			c.mtx.Unlock()
		}
		s.scrapes(1, 20)
		s.settled()
	}
	return s.settled()
}

// sceneNothingWritten: a receiver that says 200 and none of the headers of 2.0.
func sceneNothingWritten(t *testing.T, version string) map[string]answered {
	s := newSpecRig(t, version)
	s.start()
	s.play(func(string) func(*posted) *agenttest.Answer { return inOrder(agenttest.Answer{Status: 200}) })
	s.scrapes(2, 20)
	return s.settled()
}

// sceneManyExemplars: one scrape that a request has no room for, each sample with an
// exemplar but the first.
func sceneManyExemplars(t *testing.T, version string) map[string]answered {
	s := newSpecRig(t, version)
	s.queue = strings.Replace(s.queue, "max_samples_per_send: 500, capacity: 2500", "max_samples_per_send: 10, capacity: 50", 1)
	for name := range s.recorders {
		s.extra[name] += "    send_exemplars: true\n"
	}
	s.start()
	s.play(func(string) func(*posted) *agenttest.Answer { return acknowledge(http.StatusNoContent, "") })
	app, at := s.append.AppenderV2(t.Context()), s.next()
	for i := range 100 {
		o := storage.AppendV2Options{}
		if i > 0 {
			o.Exemplars = []exemplar.Exemplar{{Labels: labels.FromStrings("trace_id", "1"), Value: 1, Ts: at.UnixMilli(), HasTs: true}}
		}
		if _, err := app.Append(0, labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), 0, at.UnixMilli(), 1, nil, nil, o); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	all := s.settled()
	for name, a := range all {
		a.sent = s.of(name, a)
		all[name] = a
	}
	return all
}

// see runs all scenes of both versions, at once: they mostly wait.
func see(t *testing.T) world {
	w := world{}
	var running sync.WaitGroup
	for _, version := range []string{"1.0", "2.0"} {
		w[version] = seen{}
		for name := range scenes {
			w[version][name] = map[string]answered{}
		}
	}
	for version, all := range w {
		for name, scene := range scenes {
			running.Go(func() {
				t.Run("scenes/"+version+"/"+name, func(t *testing.T) {
					for destination, a := range scene(t, version) {
						all[name][destination] = a // a map of its own
					}
				})
			})
		}
	}
	running.Wait()
	return w
}
