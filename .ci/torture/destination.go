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
	{name: "slow", slow: 300 * time.Millisecond, extra: "    send_native_histograms: true\n"},
}

func (d *destination) token() string { return fmt.Sprintf("%s-%d", agenttest.DefaultToken, d.tokens) }

func (d *destination) tokenFile() string { return filepath.Join(d.dir, d.name+".token") }

func (d *destination) writeToken() error {
	return os.WriteFile(d.tokenFile(), []byte(d.token()+"\n"), 0o640)
}

func (d *destination) takesHistograms() bool {
	return strings.Contains(d.extra, "send_native_histograms")
}
