package delivery

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

const (
	stateFile    = "delivery.json"
	stateVersion = 1
)

// Saved is what delivery.json holds: how far each destination is, and the ledger.
type Saved struct {
	// Generation that was being written.
	Generation int `json:"generation"`
	// Written is when, in milliseconds since the epoch. No sample that was
	// acknowledged later is known to be.
	Written int64 `json:"written"`
	// Clean: the process ended in order, and nothing was sent after Written.
	Clean bool `json:"clean"`
	// Appended samples when the WAL ended at Tail; NotAppended were refused before it.
	Appended     uint64                      `json:"appended"`
	NotAppended  uint64                      `json:"notAppended"`
	Tail         backlog.Position            `json:"tail"`
	Destinations map[string]SavedDestination `json:"destinations"`

	// Lost: there was no readable file. Nothing is known of what was delivered.
	Lost bool `json:"-"`
}

// SavedDestination is one destination's part of Saved.
type SavedDestination struct {
	URL string `json:"url"`
	// Mark: everything before it was acknowledged, or given up and entered in the ledger.
	Mark backlog.Position `json:"mark"`
	// Sent: what lies between Mark and Sent may have been sent without an answer.
	Sent backlog.Position `json:"sent"`
	// Born is the number of appended samples when the destination came into being.
	Born            uint64 `json:"born"`
	BornNotAppended uint64 `json:"bornNotAppended"`
	Ledger          Ledger `json:"ledger"`
}

type envelope struct {
	Version  int             `json:"version"`
	Checksum string          `json:"checksum"` // CRC-32C of state, in hex
	State    json.RawMessage `json:"state"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli)) }

// Load reads delivery.json in dir. When there is none, or when it is damaged,
// Saved.Lost is true; the error says what was wrong with it and is not a reason
// to stop: everything on disk is sent then.
func Load(dir string) (Saved, error) {
	lost := Saved{Lost: true}
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return lost, nil
	}
	if err != nil {
		return lost, fmt.Errorf("cannot read the marks: %w", err)
	}
	var env envelope
	if err := json.Unmarshal(b, &env); err != nil {
		return lost, fmt.Errorf("%s is damaged: %w", stateFile, err)
	}
	if env.Version != stateVersion {
		return lost, fmt.Errorf("%s has version %d, this program knows %d", stateFile, env.Version, stateVersion)
	}
	if got := checksum(env.State); got != env.Checksum {
		return lost, fmt.Errorf("%s is damaged: checksum %s, expected %s", stateFile, got, env.Checksum)
	}
	var s Saved
	if err := json.Unmarshal(env.State, &s); err != nil {
		return lost, fmt.Errorf("%s is damaged: %w", stateFile, err)
	}
	return s, nil
}

// save writes delivery.json so that a power cut leaves the old or the new one.
func save(dir string, s Saved) error {
	s.Written = time.Now().UnixMilli()
	state, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("cannot encode the marks: %w", err)
	}
	b, err := json.Marshal(envelope{Version: stateVersion, Checksum: checksum(state), State: state})
	if err != nil {
		return fmt.Errorf("cannot encode the marks: %w", err)
	}
	if err := backlog.WriteFileAtomic(filepath.Join(dir, stateFile), b); err != nil {
		return fmt.Errorf("cannot write the marks: %w", err)
	}
	return nil
}
