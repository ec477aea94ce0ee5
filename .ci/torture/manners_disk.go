package main

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

func freeDisk(w *world, _ event) error { return w.disk.free() }

func needsDisk(w *world) string { return w.noDisk }
