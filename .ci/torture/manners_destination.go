package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// untilTold is how long a destination may take nothing until the verdict tells of it: a
// request may last for remoteTimeout, and what is missing there for ten seconds is not
// worth a word (delivery.UpToDate).
const untilTold = remoteTimeout + 10*time.Second + told

var ofDestination = []manner{
	{kind: "down", weight: 4, lasts: seconds(1, 40), noticed: untilTold, begin: onEndpoint((*agenttest.Endpoint).Down), end: onEndpoint((*agenttest.Endpoint).Up)},
	{
		kind: "answer", weight: 8, lasts: seconds(1, 40), noticed: untilTold, args: statusArgs,
		begin: func(w *world, e event) error { return w.respond(e, statusAnswer(e)) }, end: recoverEndpoint,
	},
	{
		// What comes behind a batch that is refused must not overtake it.
		kind: "once", weight: 6, args: func(r *rand.Rand) []string {
			return append(statusArgs(r), fmt.Sprintf("times=%d", 1+r.IntN(3)))
		},
		begin: func(w *world, e event) error {
			d, err := w.destination(e)
			if err != nil {
				return err
			}
			for range e.number("times") {
				d.endpoint.RespondNext(statusAnswer(e))
			}
			return nil
		},
	},
	{
		// A request that is longer than remoteTimeout was given up by then, and stored.
		kind: "late", weight: 2, lasts: seconds(2, 30), unacknowledged: true, args: oneOf("ms", "500", "2000", "4900", "6000"),
		begin: func(w *world, e event) error {
			return w.respond(e, agenttest.Answer{Linger: time.Duration(e.number("ms")) * time.Millisecond})
		}, end: recoverEndpoint,
	},
	{
		kind: "hang", weight: 2, lasts: seconds(2, 30), noticed: untilTold,
		begin: func(w *world, e event) error { return w.respond(e, agenttest.Answer{Delay: time.Hour}) }, end: recoverEndpoint,
	},
	{
		kind: "reset", weight: 2, lasts: seconds(1, 30), noticed: untilTold,
		begin: func(w *world, e event) error { return w.respond(e, agenttest.Answer{Reset: true}) }, end: recoverEndpoint,
	},
	{
		// Bytes of a connection, until it is reset: in a handshake, a header or a body.
		kind: "cut", weight: 3, lasts: seconds(1, 30),
		args: oneOf("bytes", "10", "500", "1500", "3000", "10000"),
		begin: func(w *world, e event) error {
			return w.wire(e, agenttest.Wire{Request: int64(e.number("bytes"))})
		},
		end: func(w *world, e event) error { return w.wire(e, agenttest.Wire{}) },
	},
	{
		// What is asked was stored, and the answer does not tell.
		kind: "cut-answer", weight: 3, lasts: seconds(1, 30), unacknowledged: true,
		args: oneOf("bytes", "1", "20", "1200", "2000"),
		begin: func(w *world, e event) error {
			return w.wire(e, agenttest.Wire{Answer: int64(e.number("bytes"))})
		},
		end: func(w *world, e event) error { return w.wire(e, agenttest.Wire{}) },
	},
	{
		kind: "swallow", weight: 3, lasts: seconds(1, 20), unacknowledged: true, args: oneOf("by", "reset", "502", "409"),
		begin: func(w *world, e event) error {
			a := agenttest.Answer{Reset: e.arg("by") == "reset", Status: e.number("by")}
			if a.Status == http.StatusConflict {
				a = agenttest.EmptyRing() // any other 409 says that nothing is stored
			}
			a.Store = true
			return w.respond(e, a)
		}, end: recoverEndpoint,
	},
	{
		// "400, 422 by the receiver: final: counted as refused, or as uncertain".
		kind: "refuse", weight: 1, lasts: seconds(1, 5), args: oneOf("status", "400", "422"), costs: []string{refused, uncertain},
		begin: func(w *world, e event) error {
			return w.respond(e, agenttest.Answer{Status: e.number("status"), Body: "received an invalid write request\n"})
		}, end: recoverEndpoint,
	},
	{
		// "A captive portal that answers 200 with a page is an acknowledgement to upstream's
		// queue, while live": an endpoint that lies is believed.
		kind: "lie", weight: 1, lasts: seconds(1, 5),
		begin: func(w *world, e event) error { return w.respond(e, agenttest.Answer{Status: http.StatusOK}) }, end: recoverEndpoint,
	},
	{
		kind: "token", weight: 3, lasts: seconds(1, 30), noticed: untilTold, args: oneOf("then", "same", "new"),
		begin: func(w *world, e event) error { return w.revoke(e) }, end: func(w *world, e event) error { return w.grant(e) },
	},
	{
		kind: "token-file", weight: 3, lasts: seconds(1, 30), noticed: untilTold, args: oneOf("how", "empty", "gone", "wrong", "directory", "pipe"),
		begin: func(w *world, e event) error { return w.spoilToken(e) },
		end:   func(w *world, e event) error { return w.mendToken(e) },
	},
	{
		kind: "name", weight: 2, lasts: seconds(10, 40), noticed: untilTold, needs: needsNames, begin: (*world).forget, end: (*world).know,
	},
	{
		kind: "tls", weight: 1, lasts: seconds(1, 20), args: oneOf("state", "untrusted", "refused"),
		begin: func(w *world, e event) error {
			return w.handshake(e, map[string]agenttest.TLSState{"untrusted": agenttest.TLSUntrusted, "refused": agenttest.TLSRefused}[e.arg("state")])
		},
		end: func(w *world, e event) error { return w.handshake(e, agenttest.TLSTrusted) },
	},
}

// held are the statuses that waiting can mend, of the table in delivery.md.
var held = []int{301, 302, 308, 401, 403, 404, 405, 407, 408, 409, 410, 413, 415, 425, 429, 500, 502, 503, 504, 511}

func statusArgs(r *rand.Rand) []string {
	// Those that are a refusal of the receiver, but for their page.
	args := []string{fmt.Sprintf("status=%d", append([]int{400, 422}, held...)[r.IntN(len(held)+2)])}
	if args[0] == "status=400" || args[0] == "status=422" || r.IntN(3) == 0 {
		args = append(args, "body=page")
	}
	if r.IntN(3) == 0 {
		args = append(args, fmt.Sprintf("retry-after=%d", 1+r.IntN(4)))
	}
	return args
}

func statusAnswer(e event) agenttest.Answer {
	a := agenttest.Answer{Status: e.number("status"), Body: "not now\n", Header: http.Header{}}
	if e.arg("body") == "page" {
		a = agenttest.NginxError(a.Status)
	}
	if after := e.arg("retry-after"); after != "" {
		a.Header.Set("Retry-After", after)
	}
	if a.Status/100 == 3 {
		a.Header.Set("Location", "https://127.0.0.1:1/login")
	}
	return a
}

func onEndpoint(do func(*agenttest.Endpoint) error) func(*world, event) error {
	return func(w *world, e event) error {
		d, err := w.destination(e)
		if err != nil {
			return err
		}
		return do(d.endpoint)
	}
}

func recoverEndpoint(w *world, e event) error {
	d, err := w.destination(e)
	if err == nil {
		d.trouble.Store(nil)
	}
	return err
}

func (w *world) respond(e event, a agenttest.Answer) error {
	d, err := w.destination(e)
	if err == nil {
		d.trouble.Store(&trouble{a, e.kind == "lie"})
	}
	return err
}

func (w *world) revoke(e event) error {
	d, err := w.destination(e)
	if err == nil {
		d.endpoint.SetToken(agenttest.DefaultTenant)
	}
	return err
}

func (w *world) grant(e event) error {
	d, err := w.destination(e)
	if err != nil {
		return err
	}
	if e.arg("then") == "new" {
		d.tokens++
		if err := d.writeToken(); err != nil {
			return err
		}
	}
	d.endpoint.SetToken(agenttest.DefaultTenant, d.token())
	return nil
}

func (w *world) spoilToken(e event) error {
	d, err := w.destination(e)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(d.tokenFile()); err != nil {
		return err
	}
	switch e.arg("how") {
	case "empty":
		return os.WriteFile(d.tokenFile(), nil, 0o640)
	case "wrong":
		return os.WriteFile(d.tokenFile(), []byte("wrong\n"), 0o640)
	case "directory":
		return os.Mkdir(d.tokenFile(), 0o750)
	case "pipe":
		return syscall.Mkfifo(d.tokenFile(), 0o640)
	}
	return nil
}

// mendToken has the file read again: a reload is refused with a pipe in its place.
func (w *world) mendToken(e event) error {
	d, err := w.destination(e)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(d.tokenFile()); err != nil {
		return err
	}
	if err := d.writeToken(); err != nil {
		return err
	}
	return w.reconfigure(func(*configuration) {})
}

func (w *world) handshake(e event, state agenttest.TLSState) error {
	d, err := w.destination(e)
	if err == nil {
		d.endpoint.SetTLS(state) // which does nothing to plain http
	}
	return err
}

func (w *world) wire(e event, wire agenttest.Wire) error {
	d, err := w.destination(e)
	if err == nil {
		d.endpoint.SetWire(wire)
	}
	return err
}
