package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// destination is an endpoint of a row of destinations.
type destination struct {
	destinationRow

	endpoint *agenttest.Endpoint
	trouble  atomic.Pointer[trouble]
	lied     atomic.Int64 // samples that were acknowledged and not stored
	dir      string
	tokens   int // that it has had
	back     *time.Timer
}

// destinationRow is how a destination is when nothing is wrong.
type destinationRow struct {
	name    string
	options agenttest.Options
	slow    time.Duration // what it takes for every request
	extra   string        // of its remote_write entry
}

var destinations = []destinationRow{
	{name: "cortex", extra: "    send_native_histograms: true\n    send_exemplars: true\n"},
	{name: "whole", options: agenttest.Options{PlainHTTP: true, Manners: agenttest.Manners{AllOrNothing: true}}},
	{
		name: "two", options: agenttest.Options{PlainHTTP: true, Manners: agenttest.Manners{RemoteWrite2: agenttest.AcceptRemoteWrite2}},
		extra: "    protobuf_message: io.prometheus.write.v2.Request\n    send_native_histograms: true\n    send_exemplars: true\n",
	},
	// As the storage of an agent is.
	{name: "agent", options: agenttest.Options{PlainHTTP: true, Manners: agenttest.Manners{AllOrNothing: true, RefuseAgain: true}}},
	{name: "slow", slow: 300 * time.Millisecond, extra: "    send_native_histograms: true\n"},
}

// newDestination starts one, with the files that the agent needs for it in dir.
func newDestination(row destinationRow, dir string) (*destination, error) {
	endpoint, err := agenttest.NewEndpoint(row.options)
	if err != nil {
		return nil, err
	}
	d := &destination{destinationRow: row, dir: dir, endpoint: endpoint}
	endpoint.RespondIf(d.answer)
	endpoint.SetToken(agenttest.DefaultTenant, d.token())
	err = d.writeToken()
	if ca := endpoint.CA(); ca != nil && err == nil {
		err = os.WriteFile(filepath.Join(dir, row.name+".pem"), ca, 0o640)
	}
	if err != nil {
		endpoint.Close()
	}
	return d, err
}

func (d *destination) token() string { return fmt.Sprintf("%s-%d", agenttest.DefaultToken, d.tokens) }

func (d *destination) tokenFile() string { return filepath.Join(d.dir, d.name+".token") }

func (d *destination) writeToken() error {
	return os.WriteFile(d.tokenFile(), []byte(d.token()+"\n"), 0o640)
}

func (d *destination) takesHistograms() bool {
	return strings.Contains(d.extra, "send_native_histograms")
}

// trouble is how an endpoint answers out of turn.
type trouble struct {
	agenttest.Answer

	lies bool
}

// answer decides about a request: trouble goes before what the destination is like.
func (d *destination) answer(in *agenttest.Incoming) *agenttest.Answer {
	t := d.trouble.Load()
	if t == nil {
		if d.slow == 0 {
			return nil
		}
		return &agenttest.Answer{Delay: d.slow}
	}
	if t.lies {
		d.lied.Add(int64(in.Samples()))
	}
	return &t.Answer
}
