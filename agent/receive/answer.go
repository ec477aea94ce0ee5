package receive

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// answer is what upstream's handler has answered, until it may be sent.
type answer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(code int) { a.code = code }

// mostWords of upstream's answer are kept: it names each series that is refused, at length.
const mostWords = 64 << 10

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.body.Write(b[:min(len(b), mostWords-min(a.body.Len(), mostWords))])
	return len(b), nil
}

func (a *answer) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.code)
	_, _ = w.Write(a.body.Bytes()) // who sends may have gone
}

// refusal is an answer of our own.
type refusal struct {
	name       string // of the result, in the metrics
	code       int
	retryAfter time.Duration // 0: the same request is never taken
	words      string
}

func (r *refusal) write(w http.ResponseWriter) {
	if r.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(r.retryAfter/time.Second)))
	}
	http.Error(w, r.words, r.code)
}

// Error implements error.
func (r *refusal) Error() string { return r.words }

// busy is for requests above the memory that all may take at once.
var busy = &refusal{"busy", http.StatusServiceUnavailable, time.Second, "too much is being sent at once"}

func tooLarge(limit int64) *refusal {
	return &refusal{"too_large", http.StatusRequestEntityTooLarge, 0, fmt.Sprintf("a request may have %d bytes, before decompression and after: send smaller ones", limit)}
}

// tooHeavy is for a request that is small, and would not be when it is decoded.
func tooHeavy(limit int64) *refusal {
	return &refusal{"too_large", http.StatusRequestEntityTooLarge, 0, fmt.Sprintf("the request takes more than %d bytes when it is decoded: send smaller ones", limit)}
}

func malformed(err error) *refusal {
	return &refusal{"malformed", http.StatusBadRequest, 0, err.Error()}
}

// later are the answers to what may be taken later, by delivery.Received's Later.
var later = map[string]*refusal{
	delivery.LaterStorage:      {"storage", http.StatusServiceUnavailable, 5 * time.Second, "the agent cannot store anything at the moment: its disk is full, or it is just starting or stopping"},
	delivery.LaterMemory:       {"memory", http.StatusServiceUnavailable, 30 * time.Second, "the agent takes no new series while its memory is short"},
	delivery.LaterMaxSeries:    {"max_series", http.StatusTooManyRequests, time.Minute, "the agent has as many series as it may have: see --limits.max-series"},
	delivery.LaterSenderSeries: {"sender_series", http.StatusTooManyRequests, time.Minute, "this sender has begun as many series as it may within two hours: see --receive.max-series"},
	delivery.LaterSenderRate:   {"sender_rate", http.StatusServiceUnavailable, 5 * time.Second, "this sender sends more samples than it may: see --receive.max-rate"},
}

// result is what became of a request.
type result struct {
	name    string
	refusal *refusal // nil: upstream's answer
	words   string   // why not all was taken; empty: it was
}

func resultOf(received *delivery.Received, a *answer) result {
	if refusal := later[received.Later]; refusal != nil {
		return result{refusal.name, refusal, refusal.words}
	}
	switch {
	case a.code/100 == 2:
		return result{name: "taken"}
	case a.code/100 == 4:
		return result{name: "refused", words: firstLine(a.body.Bytes())}
	}
	return result{name: "failed", words: firstLine(a.body.Bytes())}
}

func firstLine(b []byte) string {
	const most = 300
	line, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	return string(line[:min(len(line), most)])
}
