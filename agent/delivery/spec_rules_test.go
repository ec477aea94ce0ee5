package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// sent is what one destination was sent, and what there was to be sent.
type sent struct {
	posts []*posted // in the order in which they came
	path  string    // that is configured
	facts map[string]*fact
}

// fact is what was appended of a series, by the labels with which it is to arrive.
type fact struct {
	times      map[int64]bool
	stale      map[int64]bool // times of stale markers
	start      int64          // 0: none
	kind       int32
	help, unit string
	exemplars  int
	mixed      bool // floats and histograms
}

// check is one rule of the specification. It returns the first thing that breaks it.
type check func(s *sent) error

// staleBits are what the specification calls 0x7ff0000000000002.
const staleBits = 0x7ff0000000000002

// eachPost checks requests one by one.
func eachPost(ok func(s *sent, p *posted) error) check {
	return func(s *sent) error {
		if len(s.posts) == 0 {
			return errors.New("there is no request")
		}
		for i, p := range s.posts {
			if err := ok(s, p); err != nil {
				return fmt.Errorf("request %d of %d: %w", i+1, len(s.posts), err)
			}
		}
		return nil
	}
}

// eachSeries checks time series one by one.
func eachSeries(ok func(s *sent, w *wireSeries) error) check {
	return eachPost(func(s *sent, p *posted) error {
		if p.undecodable != nil {
			return p.undecodable
		}
		for i := range p.series {
			if err := ok(s, &p.series[i]); err != nil {
				return fmt.Errorf("%s: %w", p.series[i].key(), err)
			}
		}
		return nil
	})
}

// eachLabel checks the labels of series and exemplars one by one.
func eachLabel(ok func(l wireLabel) error) check {
	return eachSeries(func(_ *sent, w *wireSeries) error {
		all := slices.Clone(w.labels)
		for _, e := range w.exemplars {
			all = append(all, e.labels...)
		}
		for _, l := range all {
			if err := ok(l); err != nil {
				return err
			}
		}
		return nil
	})
}

func header(name, want string) check {
	pattern := regexp.MustCompile(want)
	return eachPost(func(_ *sent, p *posted) error {
		if got := p.header[name]; len(got) != 1 || !pattern.MatchString(got[0]) {
			return fmt.Errorf("%s: %q", name, got)
		}
		return nil
	})
}

var (
	posting = eachPost(func(s *sent, p *posted) error {
		if p.method != http.MethodPost || p.path != s.path {
			return fmt.Errorf("%s %s instead of POST %s", p.method, p.path, s.path)
		}
		if p.empty() {
			return errors.New("there is no sample in it")
		}
		return p.undecodable
	})
	block = eachPost(func(_ *sent, p *posted) error {
		if bytes.HasPrefix(p.body, []byte("\xff\x06\x00\x00sNaPpY")) {
			return errors.New("the framed format")
		}
		return p.undecodable
	})
	schema = eachPost(func(_ *sent, p *posted) error {
		if len(p.outside) > 0 {
			return fmt.Errorf("there are %s in it", p.outside[0])
		}
		return p.undecodable
	})
	// milliseconds: the times are those that were scraped, and all of them are there.
	milliseconds check = func(s *sent) error {
		arrived := map[string]bool{}
		err := eachSeries(func(s *sent, w *wireSeries) error {
			f := s.facts[w.key()]
			for _, x := range w.all() {
				if f == nil || !f.times[x.t] {
					return fmt.Errorf("nothing was scraped of it at %d", x.t)
				}
				arrived[fmt.Sprint(w.key(), x.t)] = true
			}
			return nil
		})(s)
		for key, f := range s.facts {
			for t := range f.times {
				if err == nil && !arrived[fmt.Sprint(key, t)] {
					err = fmt.Errorf("%s: that of %d is missing", key, t)
				}
			}
		}
		return err
	}
	several check = func(s *sent) error {
		if !slices.ContainsFunc(s.posts, func(p *posted) bool { return len(p.series) > 1 }) {
			return errors.New("each request has a series of its own")
		}
		return nil
	}
)

// Labels.
var (
	complete = eachSeries(func(s *sent, w *wireSeries) error {
		if s.facts[w.key()] == nil {
			return errors.New("no series has these labels")
		}
		return nil
	})
	named = eachSeries(func(_ *sent, w *wireSeries) error {
		if !slices.ContainsFunc(w.labels, func(l wireLabel) bool { return l.name == "__name__" }) {
			return errors.New("it has no name")
		}
		return nil
	})
	unrepeated = eachLabels(func(before, l wireLabel) error {
		if before.name == l.name {
			return fmt.Errorf("%s is there twice", l.name)
		}
		return nil
	})
	sorted = eachLabels(func(before, l wireLabel) error {
		if before.name > l.name {
			return fmt.Errorf("%s comes behind %s", l.name, before.name)
		}
		return nil
	})
	nonEmpty = eachLabel(func(l wireLabel) error {
		if l.name == "" || l.value == "" {
			return fmt.Errorf("%q=%q", l.name, l.value)
		}
		return nil
	})
	validUTF8 = eachLabel(func(l wireLabel) error {
		if !utf8.ValidString(l.name) || !utf8.ValidString(l.value) {
			return fmt.Errorf("%q=%q", l.name, l.value)
		}
		return nil
	})
	metricNames = eachLabel(func(l wireLabel) error {
		if l.name == "__name__" && !regexp.MustCompile(`^[a-zA-Z_:]([a-zA-Z0-9_:])*$`).MatchString(l.value) {
			return fmt.Errorf("a metric is called %q", l.value)
		}
		return nil
	})
	labelNames = eachLabel(func(l wireLabel) error {
		if !regexp.MustCompile(`^[a-zA-Z_]([a-zA-Z0-9_])*$`).MatchString(l.name) {
			return fmt.Errorf("a label is called %q", l.name)
		}
		return nil
	})
	unreserved = eachLabel(func(l wireLabel) error {
		if strings.HasPrefix(l.name, "__") && l.name != "__name__" {
			return fmt.Errorf("a label is called %s", l.name)
		}
		return nil
	})
)

// eachLabels checks each label of a series or exemplar with the one before it; names
// that are not sorted may be repeated further away.
func eachLabels(ok func(before, l wireLabel) error) check {
	pairs := func(labels []wireLabel) error {
		for i := range labels {
			for j := range i {
				if err := ok(labels[j], labels[i]); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return eachSeries(func(_ *sent, w *wireSeries) error {
		if err := pairs(w.labels); err != nil {
			return err
		}
		for _, e := range w.exemplars {
			if err := pairs(e.labels); err != nil {
				return err
			}
		}
		return nil
	})
}

// Order.
var (
	// ascending: within a time series, a request, and from one acknowledged request to
	// the next.
	ascending check = func(s *sent) error {
		newest := map[string]int64{}
		for i, p := range s.posts {
			here := map[string]int64{}
			for _, w := range p.series {
				key := w.key()
				for _, x := range slices.Concat(w.samples, w.histograms) {
					if last, ok := here[key]; ok && x.t <= last {
						return fmt.Errorf("request %d: %s: %d behind %d", i+1, key, x.t, last)
					}
					if last, ok := newest[key]; ok && x.t <= last {
						return fmt.Errorf("request %d: %s: %d, and there was %d before", i+1, key, x.t, last)
					}
					here[key] = x.t
				}
			}
			if p.acknowledged() {
				for key, t := range here {
					newest[key] = t
				}
			}
		}
		return nil
	}
	// disjoint: requests at the same time have no series in common.
	disjoint check = func(s *sent) error {
		for i, p := range s.posts {
			for j, q := range s.posts[:i] {
				if !q.answered.After(p.begun) {
					continue
				}
				for k := range p.series {
					key := p.series[k].key()
					if slices.ContainsFunc(q.series, func(w wireSeries) bool { return w.key() == key }) {
						return fmt.Errorf("requests %d and %d were there at the same time, with %s", j+1, i+1, key)
					}
				}
			}
		}
		return nil
	}
)

// Stale markers.
var (
	staleSent check = func(s *sent) error {
		got := map[string]bool{}
		want := map[string]bool{}
		for _, p := range s.posts {
			for _, w := range p.series {
				for _, x := range w.all() {
					if x.bits == staleBits {
						got[fmt.Sprint(w.key(), x.t)] = true
					}
				}
			}
		}
		for key, f := range s.facts {
			for t := range f.stale {
				want[fmt.Sprint(key, t)] = true
			}
		}
		if len(want) == 0 {
			return errors.New("nothing vanished")
		}
		for m := range want {
			if !got[m] {
				return fmt.Errorf("there is no stale marker of %s", m)
			}
		}
		return nil
	}
	staleOnly = eachSeries(func(s *sent, w *wireSeries) error {
		for _, x := range w.all() {
			if f := s.facts[w.key()]; x.bits == staleBits && (f == nil || !f.stale[x.t]) {
				return fmt.Errorf("there is a stale marker at %d, where it had not vanished", x.t)
			}
		}
		return nil
	})
)

// What only a message of 2.0 has.
var (
	refs = eachSeries(func(_ *sent, w *wireSeries) error {
		if w.refs == 0 {
			return errors.New("it has no labels_refs")
		}
		return nil
	})
	symbols = eachPost(func(_ *sent, p *posted) error {
		if len(p.symbols) == 0 || p.symbols[0] != "" {
			return fmt.Errorf("the symbols begin with %.1q", p.symbols)
		}
		seen := map[string]bool{}
		for _, s := range p.symbols {
			if seen[s] {
				return fmt.Errorf("%q is there twice", s)
			}
			seen[s] = true
		}
		return p.undecodable
	})
	references = eachPost(func(_ *sent, p *posted) error { return p.undecodable })
	someSample = eachSeries(func(_ *sent, w *wireSeries) error {
		if len(w.all()) == 0 {
			return fmt.Errorf("neither samples nor histograms, %d exemplars", len(w.exemplars))
		}
		return nil
	})
	oneKind = eachSeries(func(_ *sent, w *wireSeries) error {
		if len(w.samples) > 0 && len(w.histograms) > 0 {
			return errors.New("it has samples and histograms")
		}
		return nil
	})
	// apart: a series that is a float one time and a histogram the next arrives as both.
	apart check = func(s *sent) error {
		floats, histograms := map[string]bool{}, map[string]bool{}
		for _, p := range s.posts {
			for _, w := range p.series {
				floats[w.key()] = floats[w.key()] || len(w.samples) > 0
				histograms[w.key()] = histograms[w.key()] || len(w.histograms) > 0
			}
		}
		for key, f := range s.facts {
			if f.mixed && floats[key] && histograms[key] {
				return oneKind(s)
			}
		}
		return errors.New("no series has changed")
	}
	metadataSent = eachSeries(func(s *sent, w *wireSeries) error {
		f := s.facts[w.key()]
		if f == nil || w.kind != f.kind || w.help != f.help || w.unit != f.unit {
			return fmt.Errorf("type %d, help %q, unit %q instead of %+v", w.kind, w.help, w.unit, f)
		}
		return nil
	})
	startSent = eachSeries(func(s *sent, w *wireSeries) error {
		for _, x := range w.all() {
			if f := s.facts[w.key()]; f == nil || x.start != f.start {
				return fmt.Errorf("its start is %d at %d", x.start, x.t)
			}
		}
		return nil
	})
	exemplarsSent check = func(s *sent) error {
		got := map[string]int{}
		for _, p := range s.posts {
			for _, w := range p.series {
				got[w.key()] += len(w.exemplars)
			}
		}
		some := false
		for key, f := range s.facts {
			if some = some || f.exemplars > 0; got[key] != f.exemplars {
				return fmt.Errorf("%s: %d exemplars instead of %d", key, got[key], f.exemplars)
			}
		}
		if !some {
			return errors.New("there are no exemplars")
		}
		return nil
	}
	exemplars = eachSeries(func(_ *sent, w *wireSeries) error {
		for _, e := range w.exemplars {
			if e.t == 0 || e.value == 0 {
				return fmt.Errorf("an exemplar of value %v at %d", e.value, e.t)
			}
			if !slices.ContainsFunc(e.labels, func(l wireLabel) bool { return l.name == "trace_id" }) {
				return fmt.Errorf("an exemplar without trace_id: %v", e.labels)
			}
		}
		return nil
	})
)
