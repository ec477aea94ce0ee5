package main

import (
	"encoding/binary"
	"os"
	"time"
)

// The agent's test binary is the agent itself with the first of these in its environment,
// and has a wall clock that follows a file with the second (cmd/opstrace-agent).
const (
	asCommand     = "OPSTRACE_AGENT_TEST_AS_COMMAND=1"
	settableClock = "OPSTRACE_AGENT_TEST_CLOCK="
)

// clock is the file by which the agent's wall clock differs from that of the host.
type clock string

// set makes it differ by whole seconds. The file keeps its place: it is mapped.
func (c clock) set(by time.Duration) error {
	f, err := os.OpenFile(string(c), os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(int64(by/time.Second))), 0)
	return err
}
