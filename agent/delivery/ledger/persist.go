package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/regular"
)

const (
	stateFile    = "delivery.json"
	stateVersion = 1
)

// File is what delivery.json holds: how far each destination is, and the ledger.
type File struct {
	// Generation that was being written.
	Generation int
	// Written is the latest time that the clock is known to have had, in
	// milliseconds since the epoch; Write makes it the present time at least.
	Written   int64
	Overtaken Overtaken
	// Clean: the process ended in order, and nothing was sent after Written.
	Clean bool
	// Tail is the WAL's end when the terms were taken.
	Tail backlog.Position
	// NotAppended is how many samples were refused before the WAL since the
	// storage directory was created.
	NotAppended uint64
	// Forgotten is how many samples were dropped with the destinations that they were
	// kept for, since then.
	Forgotten    uint64
	Destinations map[string]Saved

	// Lost: there was no readable file. Nothing is known of what was delivered.
	Lost bool
	// Unwritten: it is not what the file on disk holds, which could not be written.
	Unwritten bool
	// Held is the time Written of what the file on disk holds instead of what is
	// Unwritten; 0: nothing. It tells whether a file follows from the same account.
	Held int64
}

// Overtaken tells which samples may be older than what endpoints got before the clock was
// set back. The zero value: none are.
type Overtaken struct {
	UpTo int64 `json:"upTo"` // what they are dated at the most, in milliseconds since the epoch
	From int   `json:"from"` // the first generation that they are of
}

// Has reports whether a sample of a generation, dated in milliseconds, may be one of them.
func (o Overtaken) Has(generation int, t int64) bool {
	return o.UpTo > 0 && generation >= o.From && t <= o.UpTo
}

// And returns what has the samples of both, and may have others.
func (o Overtaken) And(other Overtaken) Overtaken {
	switch {
	case o.UpTo == 0:
		return other
	case other.UpTo == 0:
		return o
	}
	return Overtaken{max(o.UpTo, other.UpTo), min(o.From, other.From)}
}

// state is version 1 of the file. Totals count from when the storage directory
// was created; a destination began when they were what it says in Born and
// BornNotAppended. Version 0.1.0 writes zero for the Appended, NotAppended and
// OnDisk of a Ledger, so these follow from the totals.
type state struct {
	Generation   int                         `json:"generation"`
	Written      int64                       `json:"written"`
	Overtaken    Overtaken                   `json:"overtaken,omitzero"`
	Clean        bool                        `json:"clean"`
	Appended     uint64                      `json:"appended"`
	NotAppended  uint64                      `json:"notAppended"`
	Forgotten    uint64                      `json:"forgotten,omitempty"`
	Tail         backlog.Position            `json:"tail"`
	Destinations map[string]stateDestination `json:"destinations"`
}

type stateDestination struct {
	URL             string           `json:"url"`
	Mark            backlog.Position `json:"mark"`
	Sent            backlog.Position `json:"sent"`
	Unordered       backlog.Position `json:"unordered,omitzero"`
	Asked           Asked            `json:"asked,omitzero"`
	Late            Late             `json:"late,omitzero"`
	StoresPartial   string           `json:"storesPartial,omitempty"`
	Refused         backlog.Position `json:"refused,omitzero"`
	Born            uint64           `json:"born"`
	BornNotAppended uint64           `json:"bornNotAppended"`
	Counting        bool             `json:"counting,omitempty"`
	GoneSince       int64            `json:"goneSince,omitempty"` // milliseconds since the epoch
	GoneFor         int64            `json:"goneFor,omitempty"`   // milliseconds
	Ledger          Terms            `json:"ledger"`
}

type envelope struct {
	Version  int             `json:"version"`
	Checksum string          `json:"checksum"` // CRC-32C of state, in hex
	State    json.RawMessage `json:"state"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli)) }

// Load reads delivery.json in dir. When there is none, or when it is damaged,
// File.Lost is true; the error says what was wrong with it and is not a reason to
// stop: everything on disk is sent then.
func Load(dir string) (File, error) {
	lost := File{Lost: true}
	b, err := regular.Read(filepath.Join(dir, stateFile))
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
	var s state
	if err := json.Unmarshal(env.State, &s); err != nil {
		return lost, fmt.Errorf("%s is damaged: %w", stateFile, err)
	}
	return s.file(), nil
}

// Write writes delivery.json in dir so that a power cut leaves the old or the new
// one, and returns the time Written in it. A destination that nobody opened since Load
// may be written again.
func Write(dir string, f File) (written int64, err error) {
	f.Written = max(f.Written, time.Now().UnixMilli())
	s, err := json.Marshal(stateOf(f))
	if err != nil {
		return 0, fmt.Errorf("cannot encode the marks: %w", err)
	}
	b, err := json.Marshal(envelope{Version: stateVersion, Checksum: checksum(s), State: s})
	if err != nil {
		return 0, fmt.Errorf("cannot encode the marks: %w", err)
	}
	if err := writeReserved(filepath.Join(dir, stateFile), b); err != nil {
		return 0, fmt.Errorf("cannot write the marks: %w", err)
	}
	return f.Written, nil
}

// Unwritten returns what Load would have, had Write been able to write f. The file holds
// what was written at the time held.
func Unwritten(f File, held int64) File {
	f.Written = max(f.Written, time.Now().UnixMilli())
	f = stateOf(f).file()
	f.Unwritten, f.Held = true, held
	return f
}

func stateOf(f File) state {
	s := state{
		Generation: f.Generation, Written: f.Written, Overtaken: f.Overtaken, Clean: f.Clean,
		NotAppended: f.NotAppended, Forgotten: f.Forgotten, Tail: f.Tail,
		Destinations: make(map[string]stateDestination, len(f.Destinations)),
	}
	for _, d := range f.Destinations {
		s.Appended = max(s.Appended, d.Terms.Appended)
		s.NotAppended = max(s.NotAppended, d.Terms.NotAppended)
	}
	for name, d := range f.Destinations {
		s.Destinations[name] = stateDestination{
			URL: d.URL, Mark: d.Mark, Sent: d.Sent, Unordered: d.Unordered, Asked: d.Asked, Late: d.Late,
			StoresPartial:   d.StoresPartial,
			Refused:         d.Refused,
			Born:            s.Appended - d.Terms.Appended,
			BornNotAppended: s.NotAppended - d.Terms.NotAppended,
			Counting:        d.Counting,
			Ledger:          d.Terms,
		}
		if !d.GoneSince.IsZero() {
			sd := s.Destinations[name]
			sd.GoneSince, sd.GoneFor = d.GoneSince.UnixMilli(), d.GoneFor.Milliseconds()
			s.Destinations[name] = sd
		}
	}
	return s
}

func (s state) file() File {
	f := File{
		Generation: s.Generation, Written: s.Written, Overtaken: s.Overtaken, Clean: s.Clean,
		NotAppended: s.NotAppended, Forgotten: s.Forgotten, Tail: s.Tail,
		Destinations: make(map[string]Saved, len(s.Destinations)),
	}
	for name, d := range s.Destinations {
		t := d.Ledger
		// What has more outcomes than samples was read before it was counted.
		settled := t.settled()
		t.Appended = max(s.Appended-min(s.Appended, d.Born), settled)
		t.OnDisk = t.Appended - settled
		t.NotAppended = s.NotAppended - min(s.NotAppended, d.BornNotAppended)
		f.Destinations[name] = Saved{
			URL: d.URL, Mark: d.Mark, Sent: d.Sent, Unordered: d.Unordered, Asked: d.Asked, Late: d.Late,
			StoresPartial: d.StoresPartial, Refused: d.Refused, Counting: d.Counting, Terms: t, origin: &origin{},
		}
		if d.GoneSince != 0 {
			saved := f.Destinations[name]
			saved.GoneSince, saved.GoneFor = time.UnixMilli(d.GoneSince), time.Duration(d.GoneFor)*time.Millisecond
			f.Destinations[name] = saved
		}
	}
	return f
}
