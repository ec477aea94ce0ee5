package main

import (
	"strconv"
	"time"
)

// full are the terms that a disk costs on which there is nothing left: what is there
// makes room, what comes is refused, and of the scrapes whose commit fails a part may be
// there ("a disk that fills up in one go costs the scrapes of that moment",
// troubleshooting.md).
var full = []string{notAppended, lost, evicted, uncertain}

var ofDisk = []manner{
	{
		kind: "fill", weight: 2, lasts: seconds(1, 25), noticed: told, costs: full, needs: needsDisk,
		begin: func(w *world, _ event) error { return w.disk.fill() }, end: freeDisk,
	},
	{
		// Nothing has to be created before the segment is full.
		kind: "inodes", weight: 1, lasts: seconds(1, 25), costs: full, needs: needsDisk,
		begin: func(w *world, _ event) error { return w.disk.takeInodes() }, end: freeDisk,
	},
}

// ofDevice end the process, and so are among what is done to that.
var ofDevice = []manner{
	{
		// Nobody may be writing at that moment.
		kind: "read-only", weight: 1, lasts: seconds(2, 25), noticed: told, costs: []string{notAppended}, needs: needsRoom,
		unacknowledged: true, kills: true, resends: true, begin: (*world).protect, end: (*world).unprotect,
	},
	{
		// A file system that cannot write is mended as at a boot, which a power cut may be
		// before. Until its journal is written, it takes everything.
		kind: "broken", weight: 1, lasts: seconds(5, 45), noticed: told + journal, costs: full, needs: needsDevice,
		unacknowledged: true, kills: true, resends: true, forgets: true, begin: (*world).breakDevice, end: (*world).mend,
	},
}

// journal is more than ext4 takes until it writes that something has changed (commit=).
const journal = 10 * time.Second

func (w *world) protect(event) error {
	w.disk.useless = true
	return w.agent.without(func() error { return w.disk.remount("ro") })
}

// unprotect does the same where the agent has a mount of its own.
func (w *world) unprotect(event) error {
	if err := w.disk.remount("rw"); err != nil {
		return err
	}
	w.disk.useless = false
	pid := w.agent.pid()
	if w.names == nil || pid == 0 {
		return nil
	}
	return command("nsenter", "--target="+strconv.Itoa(pid), "--mount", "mount", "-o", "remount,rw", w.disk.dir)
}

func (w *world) breakDevice(event) error {
	w.disk.useless = true
	w.disk.device.Fail(true)
	return nil
}

func (w *world) mend(event) error {
	w.disk.useless = false
	return w.agent.without(w.disk.mend)
}

func freeDisk(w *world, _ event) error { return w.disk.free() }

func needsDisk(w *world) string {
	if w.noDisk == "" && w.disk.useless {
		return "the disk takes nothing as it is"
	}
	if w.noDisk == "" && w.agent != nil && !w.agent.is(w.program.path) {
		return "what another version does on a full disk is not judged"
	}
	return w.noDisk
}

// needsRoom: what others have written there, they could not remove.
func needsRoom(w *world) string {
	if w.noDisk == "" && len(w.disk.taken) > 0 {
		return "others have filled the disk"
	}
	return w.noDisk
}

func needsDevice(w *world) string {
	if why := needsRoom(w); why != "" {
		return why
	}
	return w.disk.noDevice
}
