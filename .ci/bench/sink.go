package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/golang/snappy"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// sink takes remote write 1.0 and only counts, so that it does not set the pace: what
// agenttest's endpoint does to a sample costs more than sending it.
type sink struct {
	addr string

	mu      sync.Mutex
	server  *http.Server // nil while down
	served  chan struct{}
	counts  counts
	scrapes map[scrapeID]struct{}
	mark    time.Time // samples from before are old
	old     oldCounts
}

// counts are what was acknowledged so far.
type counts struct {
	samples int64
	bytes   int64 // of compressed bodies, without headers
	bad     int64 // requests that could not be read
}

// oldCounts are of requests that came after the mark and have samples from before it.
type oldCounts struct {
	samples int64
	bytes   int64     // of a request that has new ones too, their share
	first   time.Time // of the first such request; zero if there was none
	last    time.Time
	// The first request with any sample, old or not.
	any time.Time
}

// newSink listens on loopback. Close it.
func newSink() (*sink, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s := &sink{addr: addr, scrapes: map[scrapeID]struct{}{}}
	return s, s.up()
}

func (s *sink) url() string { return "http://" + s.addr + "/api/v1/push" }

// up listens, on the same port as ever.
func (s *sink) up() error {
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		return fmt.Errorf("the sink cannot listen: %w", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(s.push), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	served := make(chan struct{})
	s.mu.Lock()
	s.server, s.served = server, served
	s.mu.Unlock()
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	return nil
}

// down refuses connections, and ends those that there are.
func (s *sink) down() {
	s.mu.Lock()
	server, served := s.server, s.served
	s.server = nil
	s.mu.Unlock()
	if server != nil {
		_ = server.Close()
		<-served
	}
}

func (s *sink) push(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender is gone, or the sink is down
	}
	s.mu.Lock()
	mark := s.mark
	s.mu.Unlock()
	c, err := parseRequest(r.Header, body, mark.UnixMilli())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		panic(http.ErrAbortHandler) // what came while it went down is not acknowledged
	}
	if err != nil {
		s.counts.bad++
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.counts.samples += c.samples
	s.counts.bytes += int64(len(body))
	for _, id := range c.scrapes {
		s.scrapes[id] = struct{}{}
	}
	now := time.Now()
	if c.samples > 0 && s.old.any.IsZero() {
		s.old.any = now
	}
	if c.old > 0 {
		s.old.samples += c.old
		s.old.bytes += int64(len(body)) * c.old / c.samples
		s.old.last = now
		if s.old.first.IsZero() {
			s.old.first = now
		}
	}
	w.WriteHeader(http.StatusOK)
}

func (s *sink) read() counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// setMark begins a new count of what is old.
func (s *sink) setMark(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark, s.old = at, oldCounts{}
}

// has reports whether a scrape has arrived.
func (s *sink) has(id scrapeID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.scrapes[id]
	return ok
}

func (s *sink) readOld() oldCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.old
}

// scrapeID is a scrape of a target, by the value of the counter that it shows.
type scrapeID struct {
	target  string
	ordinal int64
}

// content is what a request has.
type content struct {
	samples int64
	old     int64 // of them, from before the mark
	scrapes []scrapeID
}

// parseRequest counts what a request has; before is in milliseconds.
func parseRequest(header http.Header, body []byte, before int64) (c content, err error) {
	if encoding := header.Get("Content-Encoding"); encoding != "snappy" {
		return c, fmt.Errorf("content encoding %q instead of snappy", encoding)
	}
	message, err := snappy.Decode(nil, body)
	if err != nil {
		return c, err
	}
	const series = 1
	return c, eachField(message, func(f field) error {
		if f.number != series {
			return nil
		}
		return c.addSeries(f.bytes, before)
	})
}

// The fields of prompb.TimeSeries, Label and Sample.
const (
	seriesLabel, seriesSample = 1, 2
	labelName, labelValue     = 1, 2
	sampleValue, sampleTime   = 1, 2
)

func (c *content) addSeries(series []byte, before int64) error {
	// Labels are looked at in this one series of a target only.
	counter, target := bytes.Contains(series, []byte(agenttest.ScrapesMetric)), ""
	return eachField(series, func(f field) error {
		switch {
		case f.number == seriesLabel && counter:
			var name string
			return eachField(f.bytes, func(f field) error {
				switch {
				case f.number == labelName:
					name = string(f.bytes)
				case f.number == labelValue && name == "target":
					target = string(f.bytes)
				}
				return nil
			})
		case f.number == seriesSample:
			return c.addSample(f.bytes, before, target)
		}
		return nil
	})
}

// addSample counts a sample; target is empty where it does not count scrapes.
func (c *content) addSample(sample []byte, before int64, target string) error {
	var at int64
	var value float64
	err := eachField(sample, func(f field) error {
		switch f.number {
		case sampleValue:
			value = math.Float64frombits(f.value)
		case sampleTime:
			at = int64(f.value)
		}
		return nil
	})
	c.samples++
	if at < before {
		c.old++
	}
	if target != "" && !math.IsNaN(value) { // a staleness marker is no scrape
		c.scrapes = append(c.scrapes, scrapeID{target, int64(value)})
	}
	return err
}

// field is one of a message: bytes where it has a length, a value where it is a number.
type field struct {
	number protowire.Number
	bytes  []byte
	value  uint64
}

// eachField calls do with every field of a message.
func eachField(message []byte, do func(field) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		f := field{number: number}
		switch kind {
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(message)
		case protowire.Fixed64Type:
			f.value, n = protowire.ConsumeFixed64(message)
		default:
			return errors.New("not a message of remote write")
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := do(f); err != nil {
			return err
		}
		message = message[n:]
	}
	return nil
}
